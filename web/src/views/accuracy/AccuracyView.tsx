import type { Route } from "../../state/address";
import { Evaluations } from "./Evaluations";
import { StartForm } from "./StartForm";
import { Watch } from "./Watch";

/** Starts an evaluation and lists those that are kept, or shows one. */
export function AccuracyView({ route }: { route: Route }) {
  const id = route.rest[0];
  return id ? (
    <Watch key={id} id={id} />
  ) : (
    <>
      <StartForm />
      <Evaluations />
    </>
  );
}
