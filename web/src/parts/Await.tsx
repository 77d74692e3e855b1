import type { ComponentChildren } from "preact";

import type { Load } from "../state/load";
import { Problem } from "./Problem";

/** Shows what was loaded, or how far that is. */
export function Await<T>({ load, what, children }: { load: Load<T>; what: string; children: (value: T) => ComponentChildren }) {
  switch (load.state) {
    case "ok":
      return <>{children(load.value)}</>;
    case "error":
      return <Problem trouble={load.trouble} />;
    case "loading":
      return <p role="status" class="soft">Loading {what} …</p>;
    default:
      return null;
  }
}
