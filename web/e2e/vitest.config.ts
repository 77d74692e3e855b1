import { defineConfig } from "vitest/config";

// Tests in a real browser against the real binary, one after another.
export default defineConfig({
  test: { include: ["e2e/*.test.ts"], root: ".", testTimeout: 120_000, hookTimeout: 60_000, fileParallelism: false },
});
