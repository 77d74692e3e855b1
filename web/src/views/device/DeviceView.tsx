import type { Route } from "../../state/address";

export function DeviceView(_: { route: Route }) {
  return <p>Not yet.</p>;
}
