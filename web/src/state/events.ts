// The events of a benchmark or evaluation that is running, from its first on.
import { useEffect, useState } from "preact/hooks";

import type { JobProgress, JobState } from "../api/client";

/** That of a benchmark. */
export interface Turn extends JobProgress {
  block: number;
  model: string;
  label: string;
  samples_ms: number[];
}

export interface Events<Event> {
  progress: Event[];
  /** The state that the job has come to. */
  end: JobState | undefined;
  /** The connection is gone; the browser tries again by itself. */
  lost: boolean;
}

/** Watches the job at path. The browser comes back by itself after a lost connection, and gets what it has missed. */
export function useEvents<Event extends JobProgress>(path: string, watch: boolean): Events<Event> {
  const [events, set] = useState<Events<Event>>({ progress: [], end: undefined, lost: false });
  useEffect(() => {
    if (!watch) return;
    const source = new EventSource(`${path}/events`);
    source.addEventListener("open", () => set((e) => ({ ...e, lost: false })));
    source.addEventListener("error", () => set((e) => ({ ...e, lost: true })));
    source.addEventListener("progress", (m: MessageEvent<string>) => set((e) => ({ ...e, lost: false, progress: [...e.progress, JSON.parse(m.data) as Event] })));
    source.addEventListener("end", (m: MessageEvent<string>) => {
      source.close();
      set((e) => ({ ...e, lost: false, end: (JSON.parse(m.data) as { state: JobState }).state }));
    });
    return () => source.close();
  }, [path, watch]);
  return events;
}
