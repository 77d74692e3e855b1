// Figures of an evaluation as people read them.
import type { DataSet, Difference, Interval, PreprocessReport, Proportion } from "../../api/client";
import { percent } from "../../state/format";

/** "87.0 % [81.6 % 91.0 %], 174 of 200". */
export const share = (p: Proportion) => `${percent(p.share)} [${percent(p.low)} ${percent(p.high)}], ${p.count} of ${p.of}`;

const points = (v: number) => {
  const rounded = Math.round(1e4 * v) / 100 + 0; // without a zero that is negative
  return `${rounded < 0 ? "" : "+"}${rounded.toFixed(2)}`;
};

/** Percentage points with their interval: "-0.12 [-0.31 +0.07]". */
export const difference = (d: Difference) => `${points(d.value)} [${points(d.low)} ${points(d.high)}]`;

/** Whether a difference is shown, in words. */
export const verdict = (d: Difference, above: string, below: string) => (d.low > 0 ? above : d.high < 0 ? below : "no difference shown");

/** Top-1 of every target with every preprocessing, in per cent. */
export function dots(all: PreprocessReport[]): { name: string; value: Interval }[] {
  return all.flatMap((p) =>
    p.results.map((r) => ({
      name: all.length > 1 ? `${r.target}, ${p.name}` : r.target,
      value: { value: 100 * r.top1.share, low: 100 * r.top1.low, high: 100 * r.top1.high },
    })),
  );
}

/** What is to be known of a data set before it is chosen. */
export function about(d: DataSet): string {
  if (d.error !== undefined) return `${d.name}: ${d.error}`;
  const count = (n: number, one: string, many: string) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  return `${d.name}: ${count(d.images ?? 0, "image", "images")} of ${count(d.classes ?? 0, "class", "classes")}`;
}
