// What the charts of raw samples are made of.
import uPlot from "uplot";

import { quantile } from "../device/stats";

const maxPoints = 600;
const tailPoints = 100;

/** The empirical distribution of each sample set, for lines that go up in steps: x, then shares in per cent. */
export function ecdf(sets: number[][]): uPlot.AlignedData {
  const tables = sets.map((set): uPlot.AlignedData => {
    const sorted = [...set].sort((a, b) => a - b);
    const n = sorted.length;
    const points = Math.min(n, maxPoints);
    const even = Array.from({ length: points }, (_, i) => Math.round(((i + 1) / points) * n) - 1);
    const tail = Array.from({ length: Math.min(n, tailPoints) }, (_, i) => n - 1 - i); // every one, as that is what is looked for
    const at = [...new Set([...even, ...tail])].sort((a, b) => a - b);
    const x: number[] = [], y: number[] = [];
    for (const i of at) {
      const v = sorted[i] ?? 0;
      const share = (100 * (i + 1)) / n;
      if (x.at(-1) === v) y[y.length - 1] = share; // equal times are one step
      else {
        x.push(v);
        y.push(share);
      }
    }
    return [x, y];
  });
  return tables.length ? uPlot.join(tables) : [[]];
}

/** How many bins of one width hold the values from low to high, after Freedman and Diaconis, 10 to 80. */
export function binCount(sorted: number[], low: number, high: number): number {
  const width = (2 * (quantile(sorted, 0.75) - quantile(sorted, 0.25))) / Math.cbrt(sorted.length);
  return width > 0 ? Math.max(10, Math.min(80, Math.ceil((high - low) / width))) : 10;
}

export interface Histogram {
  data: uPlot.AlignedData;
  /** How many values of each set lie outside of the bins. */
  outside: number[];
}

/** Shares in per cent of each set in common bins that reach to the largest 98th percentile. */
export function histogram(sets: number[][]): Histogram {
  const sorted = sets.map((s) => [...s].sort((a, b) => a - b));
  const filled = sorted.filter((s) => s.length > 0);
  if (filled.length === 0) return { data: [[]], outside: sets.map(() => 0) };
  const low = Math.min(...filled.map((s) => s[0] ?? 0));
  let high = Math.max(...filled.map((s) => quantile(s, 0.98)));
  if (!(high > low)) high = low + Math.max(low * 1e-3, 1e-6);
  const bins = Math.max(...filled.map((s) => binCount(s, low, high)));
  const width = (high - low) / bins;
  const edges = Array.from({ length: bins + 1 }, (_, i) => low + i * width);
  const outside: number[] = [];
  const shares = sorted.map((s) => {
    const counts = new Array<number>(bins + 1).fill(0);
    let out = 0;
    for (const v of s) {
      const bin = Math.min(Math.floor((v - low) / width), v <= high ? bins - 1 : bins);
      if (bin >= bins) out++;
      else counts[bin] = (counts[bin] ?? 0) + 1;
    }
    outside.push(out);
    return counts.map((c) => (s.length ? (100 * c) / s.length : 0));
  });
  return { data: [edges, ...shares], outside };
}
