import { defineConfig } from "vite";

export default defineConfig({
  base: "/graphiql/",
  build: {
    // Current browsers: what is written for older ones is only larger.
    target: "es2022",
    // Monaco alone is larger than what vite warns of.
    chunkSizeWarningLimit: 8192,
    modulePreload: { polyfill: false },
  },
  // The editor starts its workers as modules.
  worker: { format: "es" },
});
