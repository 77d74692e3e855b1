// One photograph on every runner of this browser, against the server's purego.
import { answer, ask, client, type Comparison, Failure, type Model, raw } from "../../api/client";
import { type Agreement, agreement, agrees, best } from "../../device/agreement";
import { parseFloats } from "../../device/npy";
import { decode, tensor } from "../../device/preprocess";
import type { Description } from "../../device/protocol";
import { openRunner, type Runner, unavailable } from "../../device/runners";

/** Where the server gives out the runtimes. */
export const base = new URL("device/", location.href.split("#")[0]).href;

/** The model, once it is loaded. */
export async function loadModel(name: string, signal?: AbortSignal): Promise<Model> {
  for (;;) {
    const m = await answer<Model>(client.GET("/models/{name}", { params: { path: { name } }, ...(signal ? { signal } : {}) }));
    if (m.state === "ready") return m;
    if (m.state === "failed") throw new Failure({ title: "The model cannot be used", ...(m.findings ? { findings: m.findings } : {}) });
    await new Promise((resolve) => setTimeout(resolve, 200));
    signal?.throwIfAborted();
  }
}

const bytesOf = async (path: string, options: RequestInit): Promise<ArrayBuffer> => (await ask(path, options)).arrayBuffer();

export const exported = async (name: string, format: Runner["format"], signal?: AbortSignal) =>
  new Uint8Array(await bytesOf(`/models/${encodeURIComponent(name)}/export?format=${format}`, signal ? { signal } : {}));

/** What one runner says of the photograph. */
export interface Row {
  runner: Runner;
  error?: string;
  description?: Description;
  /** Time to fetch the runtime, compile it and open a first session, and to open another, in ms. */
  runtimeMS?: number;
  openMS?: number;
  /** On the server's pixels, and on those that this browser has made. */
  served?: Agreement;
  own?: Agreement;
  agrees?: boolean;
  top?: string;
}

export interface Check {
  model: Model;
  /** What purego says first. */
  top: string;
  /** The largest difference of the two inputs, in levels of 255, or why this browser has none. */
  inputs: { levels: number } | { error: string };
  rows: Row[];
}

/** Runs the check; onRow tells of each runner as it is done. */
export async function check(name: string, photograph: (signal: AbortSignal) => Promise<File>, chosen: Runner[], threads: number, signal: AbortSignal, onRow: (rows: Row[]) => void): Promise<Check> {
  const model = await loadModel(name, signal);
  const file = await photograph(signal);
  const { preprocess, classes } = model;
  if (!preprocess || !classes) throw new Failure({ title: "The model is not described", detail: "The server does not tell its preprocessing." });
  const [npy, compared] = await Promise.all([
    bytesOf(`/preprocess?model=${encodeURIComponent(name)}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, signal }),
    answer<Comparison>(client.POST("/compare", { params: { query: { model: name, targets: ["purego"], top_k: classes } }, ...raw(file), signal })),
  ]);
  const served = parseFloats(npy);
  const predictions = compared.targets[0]?.predictions;
  if (!predictions) throw new Failure(compared.targets[0]?.problem ?? { title: "purego did not run" });
  const reference = new Float32Array(classes);
  for (const p of predictions) reference[p.index] = p.logit;
  const labelOf = (i: number) => predictions.find((p) => p.index === i)?.label ?? `class ${i}`;

  let own: Float32Array<ArrayBuffer> | undefined;
  let inputs: Check["inputs"];
  try {
    own = tensor(await decode(file), preprocess) as Float32Array<ArrayBuffer>;
    let levels = 0;
    for (let i = 0; i < own.length; i++) levels = Math.max(levels, Math.abs((own[i] ?? 0) - (served[i] ?? 0)) * 255 * (preprocess.std[i % 3] ?? 1));
    inputs = { levels };
  } catch (err) {
    inputs = { error: err instanceof Error ? err.message : String(err) };
  }

  const rows: Row[] = [];
  const files = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  for (const runner of chosen) {
    signal.throwIfAborted();
    const row: Row = { runner };
    try {
      const reason = await unavailable(runner, base);
      if (reason) throw new Error(reason);
      const model = files.get(runner.format) ?? exported(name, runner.format, signal);
      files.set(runner.format, model);
      const open = await openRunner(runner, base, await model, threads, signal);
      try {
        const logits = await open.worker.ask("run", served);
        const close = agreement(reference, logits);
        Object.assign(row, { description: open.description, runtimeMS: open.runtimeMS, openMS: open.openMS, served: close, agrees: agrees(close, "purego", runner.id), top: labelOf(best(logits, 1)[0] ?? 0) });
        if (own) row.own = agreement(reference, await open.worker.ask("run", own));
      } finally {
        open.worker.close();
      }
    } catch (err) {
      signal.throwIfAborted();
      row.error = err instanceof Error ? err.message : String(err);
    }
    rows.push(row);
    onRow([...rows]);
  }
  return { model, top: labelOf(best(reference, 1)[0] ?? 0), inputs, rows };
}

/** The version of the service, of its metrics; "" where they do not tell. */
export async function serviceVersion(signal?: AbortSignal): Promise<string> {
  const text = await (await ask("/metrics", signal ? { signal } : {})).text();
  return /^edgevit_build_info\{version="([^"]*)"\}/m.exec(text)?.[1] ?? "";
}
