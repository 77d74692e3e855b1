import { expect, test } from "vitest";

import type { Benchmark } from "../../api/client";
import { matches, quotient } from "./runs";

const run: Benchmark = {
  id: "20260301-120000-57e96d78", created: "2026-03-01T12:00:00Z", state: "done", origin: "browser",
  plan: { scenario: "server", models: ["demo"], targets: ["ort-web:threads"], threads: 1, batch: 1, min_duration_ms: 1, min_count: 1, blocks: 1, seed: 1 },
};

test.each([
  ["", "", true],
  ["DEMO threads", "", true],
  ["demo onnx", "", false],
  ["browser", "done", true],
  ["", "running", false],
  ["57e9", "", true],
])("filter %j, state %j", (words, state, want) => expect(matches(run, words, state)).toBe(want));

test("a quotient's bounds are the extremes of both", () => {
  expect(quotient({ value: 6, low: 5, high: 8 }, { value: 3, low: 2, high: 4 })).toEqual({ value: 2, low: 1.25, high: 4 });
  expect(quotient({ value: 6 }, { value: 3, low: 2, high: 4 })).toEqual({ value: 2 });
});
