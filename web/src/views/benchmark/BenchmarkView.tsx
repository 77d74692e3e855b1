import type { Route } from "../../state/address";
import { StartForm } from "./StartForm";
import { Watch } from "./Watch";

/** Starts a benchmark, or watches one. */
export function BenchmarkView({ route }: { route: Route }) {
  const id = route.rest[0];
  return id ? <Watch key={id} id={id} /> : <StartForm route={route} />;
}
