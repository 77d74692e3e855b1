import type { Target } from "../../api/client";

/** How a target's processes are. */
export function workersText(w: NonNullable<Target["workers"]>): string {
  const restarting = w.restarting && `${w.restarting} restarting${w.restart_in_ms === undefined ? "" : ` in ${Math.ceil(w.restart_in_ms / 1000)} s`}`;
  return [`${w.running} running`, restarting, w.restarts && `${w.restarts} ${w.restarts === 1 ? "restart" : "restarts"}`].filter(Boolean).join(", ");
}
