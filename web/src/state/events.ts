// The events of a benchmark that is running, from its first on.
import { useEffect, useState } from "preact/hooks";

import type { Benchmark } from "../api/client";

export interface Turn {
  done: number;
  total: number;
  block: number;
  model: string;
  label: string;
  samples_ms: number[];
}

export interface Events {
  turns: Turn[];
  /** The state that the run has come to. */
  end: Benchmark["state"] | undefined;
  /** The connection is gone; the browser tries again by itself. */
  lost: boolean;
}

/** Watches a run. The browser comes back by itself after a lost connection, and gets what it has missed. */
export function useEvents(id: string, watch: boolean): Events {
  const [events, set] = useState<Events>({ turns: [], end: undefined, lost: false });
  useEffect(() => {
    if (!watch) return;
    const source = new EventSource(`/benchmarks/${encodeURIComponent(id)}/events`);
    source.addEventListener("open", () => set((e) => ({ ...e, lost: false })));
    source.addEventListener("error", () => set((e) => ({ ...e, lost: true })));
    source.addEventListener("progress", (m: MessageEvent<string>) => set((e) => ({ ...e, lost: false, turns: [...e.turns, JSON.parse(m.data) as Turn] })));
    source.addEventListener("end", (m: MessageEvent<string>) => {
      source.close();
      set((e) => ({ ...e, lost: false, end: (JSON.parse(m.data) as { state: Benchmark["state"] }).state }));
    });
    return () => source.close();
  }, [id, watch]);
  return events;
}
