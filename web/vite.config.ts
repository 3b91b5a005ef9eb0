import { defineConfig } from "vite";
import { offline } from "./offline-plugin.mjs";

export default defineConfig({
  // Relative addresses, so that the built page works in any folder of any server.
  base: "./",
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    // The wasm module stays a separate file, which browsers compile while it downloads.
    assetsInlineLimit: 0,
  },
  worker: { format: "es" },
  plugins: [offline()],
});
