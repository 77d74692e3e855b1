// A value that components watch.
import { useEffect, useState } from "preact/hooks";

export class Store<T> {
  #value: T;
  #watchers = new Set<(v: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(v: T) {
    this.#value = v;
    for (const watcher of this.#watchers) watcher(v);
  }

  /** Calls f at every change until the function returned is called. */
  watch(f: (v: T) => void): () => void {
    this.#watchers.add(f);
    return () => this.#watchers.delete(f);
  }
}

/** The store's value; the component is drawn anew when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [value, set] = useState(store.value);
  useEffect(() => {
    set(store.value);
    return store.watch(set);
  }, [store]);
  return value;
}
