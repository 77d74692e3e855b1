// What a view asks the service for, and how far that is.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { isAborted, type Trouble, troubleOf } from "../api/client";

export type Load<T> = { state: "idle" } | { state: "loading" } | { state: "ok"; value: T } | { state: "error"; trouble: Trouble };

/** Work that is begun by hand; a later one puts an end to an earlier one. */
export function useWork<T>(): [Load<T>, (work: (signal: AbortSignal) => Promise<T>) => Promise<T | undefined>, () => void] {
  const [load, set] = useState<Load<T>>({ state: "idle" });
  const current = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => current.current?.abort(), []);
  const run = useCallback(async (work: (signal: AbortSignal) => Promise<T>) => {
    current.current?.abort();
    const mine = new AbortController();
    current.current = mine;
    set({ state: "loading" });
    try {
      const value = await work(mine.signal);
      if (current.current !== mine) return undefined;
      set({ state: "ok", value });
      return value;
    } catch (err) {
      if (current.current === mine) set(isAborted(err) ? { state: "idle" } : { state: "error", trouble: troubleOf(err) });
      return undefined;
    }
  }, []);
  const reset = useCallback(() => {
    current.current?.abort();
    current.current = undefined;
    set({ state: "idle" });
  }, []);
  return [load, run, reset];
}

/** What work gives for deps, asked for again when they change and by again; then what is there stays until the new is. */
export function useLoad<T>(work: (signal: AbortSignal) => Promise<T>, deps: unknown[]): [Load<T>, () => void] {
  const [load, run] = useWork<T>();
  const last = useRef<Load<T>>({ state: "loading" });
  useEffect(() => {
    last.current = { state: "loading" };
    void run(work);
  }, deps);
  if (load.state === "ok" || load.state === "error") last.current = load;
  return [load.state === "ok" || load.state === "error" ? load : last.current, useCallback(() => void run(work), deps)];
}
