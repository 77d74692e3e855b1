// Figures of an evaluation as people read them.
import type { DataSet, Difference, Evaluation, Interval, ModelList, PreprocessReport, Proportion, TargetList } from "../../api/client";
import { interval, percent } from "../../state/format";

/** "87.0 % [81.6 % 91.0 %], 174 of 200". */
export const share = (p: Proportion) => `${interval({ value: p.share, low: p.low, high: p.high }, percent)}, ${p.count} of ${p.of}`;

const points = (v: number) => {
  const rounded = Math.round(1e4 * v) / 100 + 0; // without a zero that is negative
  return `${rounded < 0 ? "" : "+"}${rounded.toFixed(2)}`;
};

/** Percentage points with their interval: "-0.12 [-0.31 +0.07]". */
export const difference = (d: Difference) => interval(d, points);

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

/** On how many images a preprocessing has the input of the model's own; the model's own is not compared with itself. */
export const equalInputs = (p: PreprocessReport, own: boolean, evaluated: number) => (own ? "is the reference" : `${p.equal_inputs} of ${evaluated}`);

/** The targets that an evaluation begins with: the default one, and of each other runtime its own default. */
export function eachRuntime(list: TargetList): string[] {
  const own = list.targets.find((t) => t.default)?.backend;
  const first = list.targets.filter((t) => t.default && t.available);
  return [...first, ...list.targets.filter((t) => t.available && t.backend !== own && !t.device && !t.precision)].map((t) => t.target);
}

/** The names to evaluate and the one that is meant at first. */
export function evaluable(list: ModelList): { names: string[]; first: string } {
  const names = list.models.filter((m) => m.state !== "failed" && m.name && !m.name.startsWith("random:")).map((m) => m.name);
  return { names, first: names.find((n) => n === list.default) ?? names[0] ?? "" };
}

/** What was left out of a data set. */
export const ignored = (n: number) => (n === 1 ? "1 file was ignored: no image by its name" : `${n.toLocaleString("en")} files were ignored: no images by their names`);

/** How an evaluation ended that is not done, and how far it came. */
export const ending = (e: Evaluation) =>
  `The evaluation ${e.state === "failed" ? "failed" : `was ${e.state}`}${e.progress ? ` after ${e.progress.done} of ${e.progress.total} images` : "; nothing of it is kept"}.`;

/** What is to be known of a data set before it is chosen. */
export function about(d: DataSet): string {
  if (d.error !== undefined) return `${d.name}: ${d.error}`;
  const count = (n: number, one: string, many: string) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  return `${d.name}: ${count(d.images ?? 0, "image", "images")} of ${count(d.classes ?? 0, "class", "classes")}`;
}
