import { defineConfig } from "vitest/config";

// The output is committed and embedded into the program, so it is the same for
// the same sources. `npm run dev` passes what is not the page's to a running
// service.
const service = process.env["EDGEVIT_SERVICE"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  build: { target: "es2023", assetsInlineLimit: 0, modulePreload: { polyfill: false }, emptyOutDir: true },
  worker: { format: "es" },
  test: { include: ["src/**/*.test.ts"] },
  server: {
    headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" },
    proxy: Object.fromEntries(
      ["/classify", "/compare", "/preprocess", "/models", "/backends", "/benchmarks", "/evaluations", "/datasets", "/problems", "/docs", "/metrics", "/device"].map((p) => [p, service]),
    ),
  },
});
