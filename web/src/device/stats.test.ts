import { expect, test } from "vitest";
import { bootstrapMedian, median, percentile, timingOf } from "./stats";

const samples = [5.19, 5.31, 5.02, 9.4, 5.25, 5.18, 5.6, 5.11, 5.08, 5.22];
const reference = [6.68, 6.9, 6.61, 8.8, 6.7, 6.66, 7.1, 6.63, 6.65, 6.71];

// The wanted values are those of Go's bench and compare.

test.each([
  [0, 5.02],
  [0.25, 5.11],
  [0.5, 5.19],
  [0.9, 5.6],
  [0.99, 9.4],
  [1, 9.4],
])("percentile %d", (q, want) => {
  expect(percentile(samples, q)).toBe(want);
});

test("percentile and median of none and of one", () => {
  expect([percentile([], 0.5), median([])]).toEqual([0, 0]);
  expect([percentile([3], 0.01), median([3])]).toEqual([3, 3]);
});

test("percentile leaves the samples in their order", () => {
  const x = [3, 1, 2];
  percentile(x, 0.5);
  expect(x).toEqual([3, 1, 2]);
});

test.each([0, 1, 2, 2 ** 53 - 1])("bootstrap interval of a median and of ratios, seed %d", (seed) => {
  const t = timingOf(samples, reference, seed);
  expect(t.median.value).toBeCloseTo(5.205, 12);
  expect(t.ratio.value).toBeCloseTo(0.7773619427811045, 12);
  // Bounds are order statistics of the draws, which differ by the seed: in Go 5.10 to 5.11, 5.425, 0.7673 to 0.7696, 0.7836.
  expect(t.median.low).toBeCloseTo(5.105, 1.8);
  expect(t.median.high).toBeCloseTo(5.425, 1);
  expect(t.ratio.low).toBeCloseTo(0.768, 2);
  expect(t.ratio.high).toBeCloseTo(0.7836, 2);
  expect(timingOf(samples, reference, seed)).toEqual(t);
});

test("bootstrap of none, and of equal samples", () => {
  expect(bootstrapMedian([], 1)).toEqual({ value: 0, low: 0, high: 0 });
  expect(bootstrapMedian([2, 2, 2, 2, 2, 2], 1)).toEqual({ value: 2, low: 2, high: 2 });
});

test("a ratio of times that the clock did not see", () => {
  expect(timingOf([0], [0], 1).ratio.value).toBe(1);
});
