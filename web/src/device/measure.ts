import { environment, newID, notHere, printable, type Bundle, type ModelFacts, type Plan, type Subject } from "./bundle";
import { labels, makePlan, turnOf, type PlanChoice } from "./plan";
import type { Turn } from "./protocol";
import { permutation, random } from "./random";
import { defaultThreads, openRunner, unavailable, type OpenRunner, type Runner } from "./runners";

/** A model that can be measured. */
export interface Model extends ModelFacts {
  /** Side of the square input in pixels. */
  size: number;
  /** Fetches the model in a format. */
  file(format: Runner["format"], signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
}

/** The news of one turn: Go's bench.Progress. */
export interface Progress {
  done: number;
  total: number;
  block: number;
  model: string;
  label: string;
  samples_ms: number[];
}

export interface MeasureOptions {
  models: Model[];
  /** The first is the one that others are related to; one may be there twice. */
  runners: Runner[];
  plan?: PlanChoice;
  /** Absolute URL of the browsers' runtimes, with a slash at its end. */
  base: string;
  /** Of the program that served the page. */
  version: string;
  /** Called before a subject is opened. */
  opening?: (model: string, label: string) => void;
  /** Called after every turn and waited for, so that drawing does not run into the next. */
  progress?: (p: Progress) => void | Promise<void>;
  signal?: AbortSignal;
}

// As Go's bench: before its first turn a target runs for warmMS and warmCount
// at least, before every other turn turnCount times: another target has had
// the caches. warmMS is more than Go's 300: a browser compiles WebAssembly
// again, and better, while it runs, which took 500 ms of XXS on two cores. A target that opens within a turn, or within quickOpenMS, is
// opened anew in every block, since where a session's memory happens to lie
// makes it faster or slower for as long as it lives.
const warmMS = 1000;
const warmCount = 3;
const turnCount = 2;
const quickOpenMS = 200;
const inputCount = 8;

interface Contestant {
  subject: Subject;
  runner: OpenRunner;
  inputs: Float32Array<ArrayBuffer>[];
}

/**
 * Measures every model on every runner, by the rules of Go's bench.Run: each
 * has its turn in every block, in an order drawn anew. A runner that cannot run
 * has an error in the bundle. It throws where none could, where the plan cannot
 * be carried out, and the signal's reason once that is aborted.
 */
export async function measure(o: MeasureOptions): Promise<Bundle> {
  const plan = makePlan(
    o.models.map((m) => m.name),
    o.runners.map((r) => r.id),
    o.plan ?? {},
    defaultThreads(),
  );
  const created = new Date();
  const begin = performance.now();
  const names = labels(plan.targets);
  const opened: Contestant[] = [];
  const subjects: Subject[] = [];
  try {
    for (const model of o.models) {
      const inputs = images(plan.seed, model.size);
      const files = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
      for (const [i, runner] of o.runners.entries()) {
        const subject = newSubject(model.name, runner.id, names[i]!);
        subjects.push(subject);
        o.opening?.(model.name, subject.label);
        try {
          const reason = await unavailable(runner, o.base);
          if (reason) throw new Error(reason);
          const file = files.get(runner.format) ?? model.file(runner.format, o.signal);
          files.set(runner.format, file);
          opened.push(await openSubject(subject, runner, await file, inputs, plan, o));
        } catch (error) {
          fail(subject, error, o.signal);
        }
      }
    }
    const env = await environment(o.version);
    check(subjects);
    let done = 0;
    for (let block = 0; block < plan.blocks; block++) {
      let position = 0;
      const order = permutation(opened.length, random(plan.seed, "order", block));
      for (const c of order.map((i) => opened[i]!).filter((c) => c.subject.error === undefined)) {
        position++;
        try {
          await turn(c, plan, subjects.length, block, position, begin, o.signal);
        } catch (error) {
          c.runner.worker.close();
          fail(c.subject, error, o.signal);
          continue;
        }
        done++;
        const { model, label, slices } = c.subject;
        const samples_ms = slices.at(-1)?.samples_ms ?? [];
        await o.progress?.({ done, total: subjects.length * plan.blocks, block, model, label, samples_ms });
      }
    }
    check(subjects);
    return {
      schema: 2,
      id: newID(created),
      origin: "browser",
      created: created.toISOString(),
      finished: new Date().toISOString(),
      plan,
      models: o.models.map(({ name, hash, untrained, macs }) => ({ name, hash, untrained, macs })),
      environment: env,
      disturbances: 0,
      probes: [],
      subjects,
    };
  } finally {
    for (const c of opened) c.runner.worker.close();
  }
}

function newSubject(model: string, target: string, label: string): Subject {
  return {
    model,
    target,
    label,
    sessions: 0,
    resident_bytes: notHere("a browser does not tell"),
    energy_missing: "a browser has no counter",
    slices: [],
  };
}

/** Records why a subject could not run; once the signal is aborted it throws its reason. */
function fail(s: Subject, error: unknown, signal?: AbortSignal): void {
  signal?.throwIfAborted();
  s.error = printable(error instanceof Error ? error.message : String(error)) || "unknown error";
}

/** Throws where no subject can run. */
function check(subjects: Subject[]): void {
  if (subjects.some((s) => s.error === undefined)) return;
  throw new Error(`no target could run: ${subjects.map((s) => `${s.label}: ${s.error}`).join("; ")}`);
}

async function openSubject(
  s: Subject,
  r: Runner,
  file: Uint8Array<ArrayBuffer>,
  inputs: Float32Array<ArrayBuffer>[],
  plan: Plan,
  o: MeasureOptions,
): Promise<Contestant> {
  const runner = await openRunner(r, o.base, file, plan.threads, o.signal);
  try {
    const warm: Turn = { warmCount: 0, minMS: warmMS, minCount: warmCount, maxCount: Infinity, inputs };
    await runner.worker.ask("measure", warm);
  } catch (error) {
    runner.worker.close();
    throw error;
  }
  s.sessions = 1;
  s.open_ms = [runner.openMS];
  s.description = { ...runner.description, provider: printable(runner.description.provider) };
  return { subject: s, runner, inputs };
}

/** Measures a subject in one block. A turn during which the page was hidden is thrown away: browsers then give it less of the processor. */
async function turn(c: Contestant, plan: Plan, subjects: number, block: number, position: number, begin: number, signal?: AbortSignal): Promise<void> {
  const { minMS, minCount, maxCount } = turnOf(plan, subjects);
  if (c.runner.openMS <= Math.max(minMS, quickOpenMS)) {
    c.subject.open_ms?.push(await c.runner.worker.ask("reopen", null));
    c.subject.sessions++;
  }
  for (;;) {
    await visible(signal);
    let hidden = false;
    const watch = () => (hidden = true);
    document.addEventListener("visibilitychange", watch);
    const start_ms = performance.now() - begin;
    const t: Turn = { warmCount: turnCount, minMS, minCount, maxCount, inputs: c.inputs };
    const { samplesMS, durationMS } = await c.runner.worker.ask("measure", t).finally(() => document.removeEventListener("visibilitychange", watch));
    if (hidden) continue;
    c.subject.slices.push({ block, position, start_ms, duration_ms: durationMS, samples_ms: samplesMS });
    return;
  }
}

/** Resolves once the page is shown. */
async function visible(signal?: AbortSignal): Promise<void> {
  while (document.hidden) {
    await new Promise<void>((resolve, reject) => {
      document.addEventListener("visibilitychange", () => resolve(), { once: true });
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }
}

/** The images that queries take in turn, NHWC [size size 3], normally distributed. */
function images(seed: number, size: number): Float32Array<ArrayBuffer>[] {
  const r = random(seed, "inputs");
  return Array.from({ length: inputCount }, () => Float32Array.from({ length: 3 * size * size }, r.normal));
}
