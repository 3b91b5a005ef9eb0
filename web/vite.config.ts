import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the built page works from any folder of any server.
  base: "./",
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    // The wasm module stays a file of its own, which browsers compile while it arrives.
    assetsInlineLimit: 0,
  },
  worker: { format: "es" },
});
