import type { Kind, Reply, Requests } from "./protocol";

/** The page's end of a runner's worker. */
export class RunnerWorker {
  #worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  #pending = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  #next = 0;
  #broken: Error | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const p = this.#pending.get(data.id);
      this.#pending.delete(data.id);
      if ("error" in data) p?.reject(new Error(data.error));
      else p?.resolve(data.answer as never);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(event.message || "the worker could not be loaded"));
    };
  }

  /** Asks the worker for something; requests are answered one after another. */
  ask<K extends Kind>(kind: K, request: Requests[K]["request"]): Promise<Requests[K]["answer"]> {
    if (this.#broken) return Promise.reject(this.#broken);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, kind, request });
    });
  }

  /** Ends the worker with its session and threads. What it still owes fails with the reason. */
  close(reason = new Error("the runner was closed")): void {
    this.#worker.terminate();
    this.#fail(reason);
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    for (const p of this.#pending.values()) p.reject(this.#broken);
    this.#pending.clear();
  }
}
