import { random } from "./random";

/** An estimate with the bounds of its 95 % bootstrap interval. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

/** As Go's compare. */
const resamples = 2000;

/** The shortest time that is told apart from none, 1 ns in ms. */
const clockStep = 1e-6;

/** The smallest of sorted values such that the share q of all is at most as large (the nearest rank); NaN of none. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const rank = Math.ceil(q * sorted.length - 1e-9); // 0.9 · 10 in floating point may be above 9
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1] ?? NaN;
}

/** The quantile of samples in any order; 0 of none. Go: bench.Percentile. */
export const percentile = (samples: readonly number[], q: number): number => (samples.length ? quantile(Float64Array.from(samples).sort(), q) : 0);

/** The middle of the samples, the mean of the two middle ones where their number is even; 0 of none. Go: compare.Median. */
export function median(samples: ArrayLike<number>): number {
  return middle(Float64Array.from(samples));
}

/** The median of x, which it sorts. */
function middle(x: Float64Array): number {
  x.sort();
  const m = x.length >> 1;
  return x.length % 2 ? x[m]! : x.length ? (x[m - 1]! + x[m]!) / 2 : 0;
}

/**
 * The median with its percentile bootstrap interval (Efron 1979), as Go's
 * compare.BootstrapMedian but for the random numbers. It is the same for the
 * same seed. Of fewer than six samples the interval is narrower than it should
 * be.
 */
export function bootstrapMedian(samples: readonly number[], seed: number): Interval {
  if (samples.length === 0) return { value: 0, low: 0, high: 0 };
  const r = random(seed, "intervals");
  const draw = new Float64Array(samples.length);
  const medians = new Float64Array(resamples);
  for (let i = 0; i < resamples; i++) {
    for (let j = 0; j < draw.length; j++) draw[j] = samples[r.below(samples.length)]!;
    medians[i] = middle(draw);
  }
  medians.sort();
  const tail = (resamples * 25) / 1000;
  return { value: median(samples), low: medians[tail]!, high: medians[resamples - 1 - tail]! };
}

export interface Timing {
  median: Interval;
  /** The median of the target's times over the reference's, paired by block. */
  ratio: Interval;
}

/** Sums up times in ms, which are paired with reference by block. Go: compare.TimingOf. */
export function timingOf(times: readonly number[], reference: readonly number[], seed: number): Timing {
  const n = Math.min(times.length, reference.length);
  // A clock may not see a run shorter than its step.
  const ratios = Array.from({ length: n }, (_, i) => Math.max(times[i]!, clockStep) / Math.max(reference[i]!, clockStep));
  return { median: bootstrapMedian(times, seed), ratio: bootstrapMedian(ratios, seed) };
}
