/** A plugin of Vite that builds the service worker `service.js` with the list of all other files of the build. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

const SOURCE = "src/offline/service.ts";
const OUTPUT = "service.js";
/** The files of the gateway, which most people never need: they are kept when they are first fetched. */
const LATER = /\.(bin|estimator)$|\/honelm_gateway_bg[^/]*\.wasm$/;
/** The document, which a server may change and which is kept without a hash; files that must be current; files of hosts. */
const LEFT_OUT = /^(service\.js|index\.html|catalogue\.json|_headers)$|\.map$/;

export function offline() {
  let root;
  return {
    name: "honelm-offline",
    apply: "build",
    configResolved(config) {
      root = config.root;
    },
    buildStart() {
      this.emitFile({ type: "chunk", id: join(root, SOURCE), fileName: OUTPUT });
    },
    writeBundle: {
      order: "post",
      sequential: true,
      // Only the written folder has all files: those of workers and the public ones too.
      handler({ dir }) {
        const read = (path) => readFileSync(join(dir, path));
        const hash = (bytes) => createHash("sha256").update(bytes).digest("base64");
        const entries = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
        const paths = entries.map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join("/")).sort();
        const kept = paths.filter((path) => !LEFT_OUT.test(path));
        const files = kept.map((path) => [path, `sha256-${hash(read(path))}`, ...(LATER.test(path) ? ["later"] : [])]);
        // A change of the document alone is a new version too.
        const version = hash(JSON.stringify([files, hash(read("index.html"))])).replace(/\W/g, "").slice(0, 16);
        const code = read(OUTPUT).toString();
        const filled = code
          .replaceAll("__HONELM_FILES__", () => JSON.stringify(files))
          .replaceAll("__HONELM_VERSION__", () => JSON.stringify(version));
        writeFileSync(join(dir, OUTPUT), filled);
      },
    },
  };
}
