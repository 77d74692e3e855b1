import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { measure, type MeasureOptions, type Model } from "./measure";
import type { Kind, Message, Reply, Requests } from "./protocol";
import { runners } from "./runners";

const named = (id: string) => runners.find((r) => r.id === id)!;

/** What the workers of a test do; a runner is known by its runtime and threads. */
let behave: (m: Message, runner: string) => Requests[Kind]["answer"];
let asked: string[];
let alive: Set<FakeWorker>;

class FakeWorker {
  onmessage: ((e: { data: Reply }) => void) | null = null;
  onerror = null;
  #runner = "";
  constructor() {
    alive.add(this);
  }
  postMessage(m: Message): void {
    if (m.kind === "load") this.#runner = `${m.request.runtime}/${m.request.threads}`;
    asked.push(`${m.kind} ${this.#runner}`);
    queueMicrotask(() => {
      try {
        this.onmessage?.({ data: { id: m.id, answer: behave(m, this.#runner) } });
      } catch (error) {
        this.onmessage?.({ data: { id: m.id, error: (error as Error).message } });
      }
    });
  }
  terminate(): void {
    alive.delete(this);
  }
}

const description = { threads: 1, provider: "a", delegated_nodes: 0, nodes: 0, library: "l", library_version: "1", weight_bytes: 0, arena_bytes: 0 };
const works: typeof behave = (m) => {
  switch (m.kind) {
    case "load":
      return { description, runtimeMS: 100, openMS: 20 };
    case "reopen":
      return 21;
    case "run":
      return Float32Array.of(1);
    case "measure":
      return { samplesMS: Array<number>(m.request.minCount).fill(5), durationMS: 5 * m.request.minCount };
  }
};

const model: Model = { name: "demo", hash: "a".repeat(64), untrained: false, macs: 7, size: 2, file: async () => new Uint8Array(4) };
const options = (o: Partial<MeasureOptions> = {}): MeasureOptions => ({
  models: [model],
  runners: [named("ort-web"), named("litert-web")],
  plan: { blocks: 3, min_duration_ms: 30, min_count: 7, seed: 9 },
  base: "http://example.org/device/",
  version: "v1",
  ...o,
});

beforeEach(() => {
  behave = works;
  asked = [];
  alive = new Set();
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false }));
  vi.stubGlobal("navigator", { hardwareConcurrency: 8, userAgent: "X11; Linux x86_64" });
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("crossOriginIsolated", false);
  vi.stubGlobal("fetch", async () => new Response());
});
afterEach(() => vi.unstubAllGlobals());

test("a bundle holds a slice for every subject and block", async () => {
  const progress = vi.fn();
  const b = await measure(options({ progress }));
  expect(b.plan).toMatchObject({ models: ["demo"], targets: ["ort-web", "litert-web"], threads: 4, blocks: 3 });
  expect(b.models).toEqual([{ name: "demo", hash: model.hash, untrained: false, macs: 7 }]);
  expect(b.environment).toMatchObject({ os: "linux", cores: 8, version: "v1", browser: "X11; Linux x86_64" });
  expect(b.environment.others).toEqual({ value: 0, missing: "not measurable here: a browser does not tell" });
  expect(Date.parse(b.finished)).toBeGreaterThanOrEqual(Date.parse(b.created));
  for (const s of b.subjects) {
    expect(s.error).toBeUndefined();
    expect(s.slices.map((l) => [l.block, l.samples_ms.length])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    expect([s.sessions, s.open_ms]).toEqual([4, [20, 21, 21, 21]]);
  }
  for (const block of [0, 1, 2]) {
    expect(b.subjects.map((s) => s.slices[block]!.position).sort()).toEqual([1, 2]);
  }
  expect(progress).toHaveBeenCalledTimes(6);
  expect(progress.mock.lastCall![0]).toMatchObject({ done: 6, total: 6, block: 2, samples_ms: [5, 5, 5] });
  expect(alive.size).toBe(0);
});

test("a runner that fails is a row and stops no other", async () => {
  let turns = 0;
  behave = (m, runner) => {
    if (m.kind === "measure" && runner === "litert/1" && ++turns > 2) throw new Error("memory\u0000");
    return works(m, runner);
  };
  const b = await measure(options({ runners: [named("ort-web"), named("ort-web:threads"), named("litert-web")] }));
  expect(b.subjects.map((s) => s.error)).toEqual([undefined, "the page is not cross-origin isolated, so the browser withholds shared memory", "memory "]);
  expect(b.subjects.map((s) => s.slices.length)).toEqual([3, 0, 1]);
  expect(alive.size).toBe(0);
});

test("where none can run there is no bundle", async () => {
  vi.stubGlobal("fetch", async () => new Response(null, { status: 404 }));
  await expect(measure(options())).rejects.toThrow("the server has no browser runtimes: run make runtimes");
});

test("a session that opens slowly stays", async () => {
  behave = (m, runner) => (m.kind === "load" ? { description, runtimeMS: 1, openMS: 201 } : works(m, runner));
  const b = await measure(options());
  expect(b.subjects[0]).toMatchObject({ sessions: 1, open_ms: [201] });
  expect(asked.filter((a) => a.startsWith("reopen"))).toEqual([]);
});

test("a run that is aborted ends with the reason, and its workers with it", async () => {
  const stop = new AbortController();
  const progress = () => stop.abort(new Error("stopped"));
  await expect(measure(options({ progress, signal: stop.signal }))).rejects.toThrow("stopped");
  expect(alive.size).toBe(0);
});

test("a turn during which the page was hidden is measured again", async () => {
  let turns = 0;
  behave = (m, runner) => {
    if (m.kind === "measure" && m.request.warmCount > 0 && ++turns === 1) document.dispatchEvent(new Event("visibilitychange"));
    return works(m, runner);
  };
  const b = await measure(options());
  expect(turns).toBe(7);
  expect(b.subjects.map((s) => s.slices.length)).toEqual([3, 3]);
});
