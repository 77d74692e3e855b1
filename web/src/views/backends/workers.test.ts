import { expect, test } from "vitest";

import { workersText } from "./workers";

test.each([
  [{ running: 1, restarting: 0, restarts: 0 }, "1 running"],
  [{ running: 2, restarting: 0, restarts: 1 }, "2 running, 1 restart"],
  [{ running: 0, restarting: 1, restarts: 3, restart_in_ms: 1200 }, "0 running, 1 restarting in 2 s, 3 restarts"],
  [{ running: 0, restarting: 1, restarts: 3 }, "0 running, 1 restarting, 3 restarts"],
])("worker processes: %#", (workers, text) => expect(workersText(workers)).toBe(text));
