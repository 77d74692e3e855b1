import type { ComponentChildren } from "preact";
import { useErrorBoundary } from "preact/hooks";

import { troubleOf } from "../api/client";
import { Problem } from "./Problem";

/** Shows a fault of what is in it, which would else leave half a view. */
export function Boundary({ children }: { children: ComponentChildren }) {
  const [fault] = useErrorBoundary((err) => console.error(err));
  return fault ? <Problem trouble={troubleOf(fault)} /> : <>{children}</>;
}
