import type { Comparison } from "../../api/client";

/** The answers for one picture. */
export interface Compared {
  name: string;
  /** Its class, where that is known. */
  label?: string;
  result: Comparison;
}

/** A share with its Wilson 95 % interval. */
export interface Share {
  share: number;
  low: number;
  high: number;
}

/** The Wilson score interval of k out of n (Wilson 1927). */
export function wilson(k: number, n: number): Share {
  if (n === 0) return { share: 0, low: 0, high: 1 };
  const z = 1.959963984540054;
  const p = k / n;
  const centre = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return { share: p, low: Math.max(0, (centre - half) / scale), high: Math.min(1, (centre + half) / scale) };
}

/** The class that a picture's folder is named after, if the model has it. */
export function labelOf(path: string, labels: string[]): string | undefined {
  const folder = path.split("/").at(-2);
  return folder !== undefined && labels.includes(folder) ? folder : undefined;
}

export interface PairSummary {
  a: string;
  b: string;
  count: number;
  agreeing: number;
  top1: Share;
  /** The largest difference of two logits, of the largest logit. */
  worst_relative: number;
  worst_snr_db: number;
  /** The picture with the smallest signal-to-noise ratio. */
  worst_name: string;
}

/** How each pair of targets agrees over all pictures. */
export function pairsOf(done: Compared[]): PairSummary[] {
  const all = new Map<string, PairSummary & { equal: number }>();
  for (const { name, result } of done) {
    for (const p of result.pairs) {
      const key = `${p.a} / ${p.b}`;
      const s = all.get(key) ?? { a: p.a, b: p.b, count: 0, agreeing: 0, equal: 0, top1: wilson(0, 0), worst_relative: 0, worst_snr_db: Infinity, worst_name: "" };
      s.count++;
      if (p.agrees) s.agreeing++;
      if (p.top1_equal) s.equal++;
      s.worst_relative = Math.max(s.worst_relative, p.max_abs / p.scale);
      if (p.snr_db < s.worst_snr_db) [s.worst_snr_db, s.worst_name] = [p.snr_db, name];
      all.set(key, s);
    }
  }
  return [...all.values()].map(({ equal, ...s }) => ({ ...s, top1: wilson(equal, s.count) }));
}

export interface Accuracy {
  target: string;
  count: number;
  top1: Share;
  top5: Share;
  wrong: { name: string; said: string }[];
}

/** How often each target is right on the pictures whose class is known. */
export function accuracies(done: Compared[]): Accuracy[] {
  const known = done.filter((d) => d.label !== undefined);
  const targets = [...new Set(known.flatMap((d) => d.result.targets.filter((t) => t.predictions).map((t) => t.target)))];
  return targets.map((target) => {
    let count = 0, first = 0, five = 0;
    const wrong: { name: string; said: string }[] = [];
    for (const { name, label, result } of known) {
      const said = result.targets.find((t) => t.target === target)?.predictions;
      if (!said) continue;
      count++;
      if (said[0]?.label === label) first++;
      else wrong.push({ name, said: said[0]?.label ?? "nothing" });
      if (said.slice(0, 5).some((p) => p.label === label)) five++;
    }
    return { target, count, top1: wilson(first, count), top5: wilson(five, count), wrong };
  });
}
