import { digits } from "../../state/format";
import type { Point } from "./ScalingView";

const keepsUp = 0.95;

/**
 * The highest rate below which no rate was too much; why is what the next
 * breaks. A rate is too much where all of the interval of what is served lies
 * under 95 % of it, or where p99 is above the run's bound. Points are sorted by
 * rate.
 */
export function knee(points: Pick<Point, "rate" | "subject">[]): { rate?: number; why?: string } {
  let rate: number | undefined;
  for (const p of points) {
    const { value, high } = p.subject.throughput;
    const why =
      (high ?? value) / p.rate < keepsUp ? `at ${digits(p.rate)} a second it serves ${((100 * value) / p.rate).toFixed(0)} %`
      : p.subject.bound_met === false ? `at ${digits(p.rate)} a second p99 is ${digits(p.subject.p99_ms.value)} ms, above the bound`
      : undefined;
    if (why) return { ...(rate === undefined ? {} : { rate }), why };
    rate = p.rate;
  }
  return rate === undefined ? {} : { rate };
}
