import { expect, test } from "vitest";
import { labels, makePlan, turnOf } from "./plan";

test("defaults are Go's", () => {
  expect(makePlan(["demo"], ["ort-web"], {}, 4)).toEqual({
    scenario: "single-stream",
    models: ["demo"],
    targets: ["ort-web"],
    threads: 4,
    batch: 1,
    min_duration_ms: 5000,
    min_count: 100,
    blocks: 20,
    seed: 0,
  });
});

test("turns divide duration and count, and keep the samples bounded", () => {
  const plan = (min_duration_ms: number, min_count: number, blocks: number) => makePlan(["m"], ["a", "b"], { min_duration_ms, min_count, blocks }, 1);
  expect(turnOf(plan(5000, 100, 20), 2)).toEqual({ minMS: 250, minCount: 5, maxCount: 25000 });
  expect(turnOf(plan(1000, 101, 20), 6)).toEqual({ minMS: 50, minCount: 6, maxCount: 8333 });
  expect(turnOf(plan(1000, 1, 1000), 64)).toEqual({ minMS: 1, minCount: 1, maxCount: 15 });
});

test.each([
  [{ blocks: 1001 }, "blocks: 1001"],
  [{ blocks: 2.5 }, "blocks: 2.5"],
  [{ min_duration_ms: NaN }, null], // stands for the default
  [{ min_duration_ms: 0.5 }, "minimum duration in ms: 0.5"],
  [{ min_count: -1 }, "minimum count: -1"],
  [{ seed: 2 ** 53 }, "seed"],
  [{ min_count: 1_000_000 }, "samples in all"],
])("choice %j", (choice, error) => {
  const make = () => makePlan(["m"], ["a", "b"], choice, 1);
  if (error) expect(make).toThrow(error);
  else expect(make).not.toThrow();
});

test("too many subjects, and none", () => {
  expect(() => makePlan(Array(20).fill("m"), ["a", "b", "c", "d"], {}, 1)).toThrow("models times targets: 80");
  expect(() => makePlan(["m"], [], {}, 1)).toThrow("the number of targets: 0");
});

test("a target that is there twice", () => {
  expect(labels(["a", "b", "a", "a"])).toEqual(["a", "b", "a #2", "a #3"]);
});
