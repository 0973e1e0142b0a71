import { defineConfig } from "vite";

export default defineConfig({
  base: "/graphiql/",
  build: {
    // Only current browsers are supported; code for older ones is larger.
    target: "es2022",
    // The default limit is smaller than Monaco alone.
    chunkSizeWarningLimit: 8192,
    modulePreload: { polyfill: false },
  },
  // The editor starts its workers as modules.
  worker: { format: "es" },
});
