// Writes `pkg/integrity.ts`: the SHA-384 of each file that the package fetches at run time. The bundlers build it into the scripts, which
// refuse another file. Run by `cargo xtask web` whenever it has written `pkg`.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const pkg = new URL("pkg/", import.meta.url);
const files = readdirSync(pkg).filter((name) => /\.(wasm|bin|estimator)$/.test(name)).sort();
const digest = (name) => `sha384-${createHash("sha384").update(readFileSync(new URL(name, pkg))).digest("base64")}`;
const lines = files.map((name) => `  ${JSON.stringify(name)}: ${JSON.stringify(digest(name))},`);
writeFileSync(new URL("integrity.ts", pkg), `/** Written by seal.mjs. */\nexport const INTEGRITY = {\n${lines.join("\n")}\n} as const;\n`);
