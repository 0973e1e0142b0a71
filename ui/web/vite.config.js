import { defineConfig } from "vite";

export default defineConfig({
  base: "/graphiql/",
  build: {
    // Only current browsers are supported, because code for older browsers is larger.
    target: "es2022",
    // The default limit is smaller than the size of Monaco alone.
    chunkSizeWarningLimit: 8192,
    modulePreload: { polyfill: false },
  },
  // The editor starts its workers as modules, so the workers are built as ES modules.
  worker: { format: "es" },
});
