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
/** The files of `pkg` that are fetched at run time. */
const FETCHED = ["honelm_web_bg.wasm", "honelm_gateway_bg.wasm", "tagger.bin", "router.estimator"];

/** The addresses of scripts in the sources, and those in the package; files of `pkg` lie beside the scripts. */
const ADDRESSES = {
  "index.ts": ["./worker.ts", "./worker.js"],
  "worker.ts": [],
  "store/index.ts": ["./worker.ts", "./store-worker.js"],
  "store/worker.ts": [],
  "gateway/index.ts": ["./worker.ts", "./gateway-worker.js"],
  "gateway/worker.ts": [],
};

/** Replaces the addresses. */
const readdress = {
  name: "addresses",
  transform(code, id) {
    const [, file] = /\/src\/honelm\/(.*)$/.exec(id) ?? [];
    if (file === undefined || !code.includes("import.meta.url")) return null;
    if (!(file in ADDRESSES)) throw new Error(`${file}: found an address that is not in ADDRESSES`);
    const [from, to] = ADDRESSES[file];
    const beside = code.replace(/"(?:\.\.\/)+pkg\/([\w.]+)"(?=, import\.meta\.url)/g, (_, name) => {
      if (!FETCHED.includes(name)) throw new Error(`${file}: found ${name}, which is not in FETCHED`);
      return `"./${name}"`;
    });
    return { code: from === undefined ? beside : beside.replaceAll(`"${from}"`, `"${to}"`), map: null };
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
await bundle("gateway/worker.ts", "gateway-worker.js");
for (const name of FETCHED) copyFileSync(join(web, "pkg", name), join(lib, name));
for (const license of ["LICENSE-APACHE", "LICENSE-MIT"]) copyFileSync(join(web, "..", license), join(lib, license));
execFileSync(process.execPath, [join(web, "node_modules/typescript/bin/tsc"), "-p", join(web, "tsconfig.lib.json")], { stdio: "inherit" });
endings(join(lib, "types"));
