import { expect, test } from "vitest";

import { quantile } from "../device/stats";
import { tickText } from "../state/format";
import { binCount, ecdf, histogram } from "./distribution";
import { stepOf, ticks } from "./series";

const up = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test("quantiles are of the nearest rank, as bench.Percentile", () => {
  expect([0, 0.5, 0.9, 1].map((q) => quantile([1, 2, 3, 4], q))).toEqual([1, 2, 4, 4]);
  expect(quantile(up(10), 0.9)).toBe(9);
  expect(quantile([7], 0.99)).toBe(7);
  expect(quantile([], 0.5)).toBeNaN();
});

test("an ECDF goes up to 100 %, equal times in one step", () => {
  expect(ecdf([[3, 1, 1, 2]])).toEqual([[1, 2, 3], [50, 75, 100]]);
});

test("two ECDFs share their times, with gaps", () => {
  const [x, a, b] = ecdf([[1, 3], [2]]);
  expect(x).toEqual([1, 2, 3]);
  expect([a?.[0], a?.[2], b?.[1]]).toEqual([50, 100, 100]);
  expect(a?.[1] ?? null).toBeNull();
});

test("many samples become few points that keep the last", () => {
  const [x, y] = ecdf([up(100_000)]);
  expect(x?.length).toBeLessThanOrEqual(700);
  expect([x?.at(-1), y?.at(-1)]).toEqual([100_000, 100]);
});

test("a histogram loses no sample", () => {
  const sets = [up(1000), [...up(990), ...new Array<number>(10).fill(1e6)]];
  const { data, outside } = histogram(sets);
  sets.forEach((set, i) => {
    const inside = (data[i + 1] as number[]).reduce((a, b) => a + b, 0);
    expect(inside).toBeCloseTo(100 * (1 - (outside[i] ?? 0) / set.length), 9);
  });
  expect(outside[1]).toBeGreaterThanOrEqual(10);
});

test("a histogram of equal samples has them all in it", () => {
  const { data, outside } = histogram([[5, 5, 5, 5]]);
  expect(outside).toEqual([0]);
  expect((data[1] as number[]).reduce((a, b) => a + b, 0)).toBe(100);
});

test("bins are as wide as Freedman and Diaconis say", () => {
  expect(binCount(up(1000), 1, 1000)).toBe(10); // 2 · 500 / 10 = 100 wide
  expect(binCount([1, 1, 1], 1, 2)).toBe(10);
});

test("ticks are round and within the scale", () => {
  expect(ticks(0, 4.5, 5)).toEqual([0, 1, 2, 3, 4]);
  expect(ticks(0.92, 1.08, 4).map((t) => t.toFixed(2))).toEqual(["0.95", "1.00", "1.05"]);
  expect(ticks(3, 3)).toEqual([3]);
  expect([stepOf([1, 1.5, 2]), stepOf([5]), stepOf([0]), stepOf([])]).toEqual([0.5, 5, 1, 1]);
  for (let high = 0.001; high < 1e4; high *= 1.07) {
    for (const n of [3, 5, 12]) {
      const at = ticks(0.93 * high, high, n);
      expect(new Set(at.map((t) => tickText(t, stepOf(at)))).size, `ticks up to ${high}`).toBe(at.length);
    }
  }
});
