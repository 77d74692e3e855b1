import type { Benchmark, Interval } from "../../api/client";

/** Whether a run has all words of a filter in what the table shows of it. */
export function matches(run: Benchmark, words: string, state: string): boolean {
  const text = [run.id, run.state, run.origin, run.plan.scenario, ...run.plan.models, ...run.plan.targets].join(" ").toLowerCase();
  return (!state || run.state === state) && words.toLowerCase().split(/\s+/).every((w) => text.includes(w));
}

/** b over a. Its bounds are the extremes of those of both, so that they are wider than 95 %. */
export function quotient(b: Interval, a: Interval): Interval {
  const value = b.value / a.value;
  if (a.low === undefined || a.high === undefined || b.low === undefined || b.high === undefined || !(a.low > 0)) return { value };
  return { value, low: b.low / a.high, high: b.high / a.low };
}
