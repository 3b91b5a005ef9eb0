// Builds the package for npm in `lib/`: an ES module, its workers, the wasm module, and the types. Run by `npm run build`.
//
// The addresses of workers and wasm module stay `new URL("./NAME", import.meta.url)`, which browsers resolve and bundlers know.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const web = fileURLToPath(new URL(".", import.meta.url));
const lib = join(web, "lib");
const WASM = "honelm_web_bg.wasm";

/** The addresses in the sources, and those in the package. */
const ADDRESSES = {
  "index.ts": ["./worker.ts", "./worker.js"],
  "worker.ts": [`../../pkg/${WASM}`, `./${WASM}`],
  "store/index.ts": ["./worker.ts", "./store-worker.js"],
  "store/worker.ts": [`../../../pkg/${WASM}`, `./${WASM}`],
};

/** Replaces the addresses. */
const readdress = {
  name: "addresses",
  transform(code, id) {
    const [, file] = /\/src\/honelm\/(.*)$/.exec(id) ?? [];
    if (file === undefined || !code.includes("import.meta.url")) return null;
    const [from, to] = ADDRESSES[file] ?? [];
    if (from === undefined || !code.includes(`"${from}"`)) throw new Error(`${file}: found an address that is not in ADDRESSES`);
    return { code: code.replaceAll(`"${from}"`, `"${to}"`), map: null };
  },
};

/** Bundles a file of the sources to one of the package. */
async function bundle(source, name) {
  const bundled = await rolldown({ input: join(web, "src/honelm", source), plugins: [readdress], platform: "browser", logLevel: "warn" });
  await bundled.write({ file: join(lib, name), format: "esm", minify: true });
  await bundled.close();
}

/** Gives the imports of a folder of types the endings that every module resolution knows. */
function endings(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) endings(path);
    else writeFileSync(path, readFileSync(path, "utf8").replace(/((?:from|import\()\s*")(\.[^"]*?)(?:\.js)?"/g, ending(folder)));
  }
}

function ending(folder) {
  const folders = new Set(readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => `./${name}`));
  return (_, before, name) => `${before}${name}${folders.has(name) ? "/index" : ""}.js"`;
}

rmSync(lib, { recursive: true, force: true });
mkdirSync(lib);
await bundle("index.ts", "honelm.js");
await bundle("worker.ts", "worker.js");
await bundle("store/worker.ts", "store-worker.js");
copyFileSync(join(web, "pkg", WASM), join(lib, WASM));
for (const license of ["LICENSE-APACHE", "LICENSE-MIT"]) copyFileSync(join(web, "..", license), join(lib, license));
execFileSync(process.execPath, [join(web, "node_modules/typescript/bin/tsc"), "-p", join(web, "tsconfig.lib.json")], { stdio: "inherit" });
endings(join(lib, "types"));
