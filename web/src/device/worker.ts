/**
 * The worker of one runner: loads a runtime and a model, runs it, measures it.
 * It answers messages one after another; an error is its text. It ends when
 * the page terminates it.
 */
import type { Engine } from "./engine";
import { loadLiteRT } from "./litert";
import { closedLoop } from "./loop";
import { loadOrt } from "./ort";
import type { Kind, LoadOptions, Loaded, Message, Reply, Requests } from "./protocol";

const scope = globalThis as unknown as { postMessage(reply: Reply): void };
const now = () => performance.now();

let engine: Engine | undefined;
let model: Uint8Array<ArrayBuffer> | undefined;

async function load(o: LoadOptions): Promise<Loaded> {
  const begin = now();
  engine = await (o.runtime === "ort" ? loadOrt(o) : loadLiteRT(o));
  model = o.model;
  await engine.open(model); // the first session waits for WebAssembly to be compiled
  const loaded = now();
  await engine.open(model);
  return {
    description: {
      threads: engine.threads,
      provider: engine.provider,
      delegated_nodes: 0,
      nodes: 0,
      library: engine.library,
      library_version: engine.version,
      weight_bytes: 0,
      arena_bytes: 0,
    },
    runtimeMS: loaded - begin,
    openMS: now() - loaded,
  };
}

async function answer(m: Message): Promise<Requests[Kind]["answer"]> {
  if (m.kind === "load") return load(m.request);
  if (!engine || !model) throw new Error("no model is loaded");
  switch (m.kind) {
    case "reopen": {
      const begin = now();
      await engine.open(model);
      return now() - begin;
    }
    case "run":
      return engine.run(m.request);
    case "measure":
      return closedLoop(engine.run, m.request, now);
  }
}

let last = Promise.resolve();
addEventListener("message", (event: MessageEvent<Message>) => {
  const m = event.data;
  last = last.then(async () => {
    try {
      scope.postMessage({ id: m.id, answer: await answer(m) });
    } catch (error) {
      scope.postMessage({ id: m.id, error: errorText(error) });
    }
  });
});

/** WebAssembly may throw a bare number or pointer. */
function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
