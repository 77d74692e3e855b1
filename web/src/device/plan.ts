import type { Plan } from "./bundle";

/** The largest number of raw samples of a run: Go's bench.MaxSamples. */
const maxSamples = 1_000_000;

/** What a visitor may choose; models and targets follow from what is measured. */
export type PlanChoice = Partial<Pick<Plan, "threads" | "min_duration_ms" | "min_count" | "blocks" | "seed">>;

/**
 * A plan with Go's defaults filled in. It throws where Go's Plan.Check would
 * refuse it.
 */
export function makePlan(models: string[], targets: string[], choice: PlanChoice, threads: number): Plan {
  const p: Plan = {
    scenario: "single-stream",
    models,
    targets,
    threads: choice.threads || threads,
    batch: 1,
    min_duration_ms: choice.min_duration_ms || 5000,
    min_count: choice.min_count || 100,
    blocks: choice.blocks || 20,
    seed: choice.seed ?? 0,
  };
  const subjects = models.length * targets.length;
  const fields: [name: string, value: number, low: number, high: number, whole: boolean][] = [
    ["the number of models", models.length, 1, 64, true],
    ["the number of targets", targets.length, 1, 64, true],
    ["models times targets", subjects, 1, 64, true],
    ["threads", p.threads, 1, 4096, true],
    ["minimum duration in ms", p.min_duration_ms, 1, 3600e3, false],
    ["minimum count", p.min_count, 1, maxSamples, true],
    ["blocks", p.blocks, 1, 1000, true],
    ["seed", p.seed, 0, Number.MAX_SAFE_INTEGER, true],
    ["samples in all", subjects * Math.max(p.min_count, p.blocks), 1, maxSamples, true],
  ];
  for (const [name, value, low, high, whole] of fields) {
    if (!(low <= value && value <= high) || (whole && !Number.isInteger(value))) {
      throw new Error(`${name}: ${value}, want ${whole ? "a whole number from " : ""}${low} to ${high}`);
    }
  }
  return p;
}

/** A target's turn in one block: at least minMS and minCount queries, at most maxCount. Go: Plan.turn. */
export function turnOf(p: Plan, subjects: number): { minMS: number; minCount: number; maxCount: number } {
  const maxCount = Math.max(Math.floor(maxSamples / (subjects * p.blocks)), 1);
  return { minMS: p.min_duration_ms / p.blocks, minCount: Math.min(Math.ceil(p.min_count / p.blocks), maxCount), maxCount };
}

/** Targets, and #2 the second time that one is there. */
export function labels(targets: readonly string[]): string[] {
  return targets.map((t, i) => {
    const before = targets.slice(0, i).filter((other) => other === t).length;
    return before ? `${t} #${before + 1}` : t;
  });
}
