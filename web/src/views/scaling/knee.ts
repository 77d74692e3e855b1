import { digits } from "../../state/format";
import type { Point } from "./ScalingView";

export const keepsUp = 0.95;

/** The highest rate below which no rate was too much; why is what the next breaks. Points are sorted by rate. */
export function knee(points: Pick<Point, "rate" | "subject">[]): { rate?: number; why?: string } {
  let rate: number | undefined;
  for (const p of points) {
    const served = p.subject.throughput.value / p.rate;
    const why =
      served < keepsUp ? `at ${digits(p.rate)} a second it serves ${(100 * served).toFixed(0)} %`
      : p.subject.bound_met === false ? `at ${digits(p.rate)} a second p99 is ${digits(p.subject.p99_ms.value)} ms, above the bound`
      : undefined;
    if (why) return { ...(rate === undefined ? {} : { rate }), why };
    rate = p.rate;
  }
  return rate === undefined ? {} : { rate };
}
