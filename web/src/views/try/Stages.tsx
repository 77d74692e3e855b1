import type { Comparison } from "../../api/client";
import { num, Table } from "../../parts/Table";
import { ms } from "../../state/format";

/** What each target's answer would have cost alone, stage by stage. */
export function Stages({ result }: { result: Comparison }) {
  const { decode_ms, preprocess_ms } = result.timing;
  const rows = result.targets.flatMap((t) =>
    t.timing ? [{ target: t.target, parts: [decode_ms, preprocess_ms, t.timing.queue_ms, t.timing.inference_ms] }] : [],
  );
  const total = (parts: number[]) => parts.reduce((a, b) => a + b, 0);
  const longest = Math.max(...rows.map((r) => total(r.parts)), 1e-9);
  return (
    <Table
      caption="Stages of one answer; decoding and preprocessing are done once and shared"
      columns={["target", ...["decode", "preprocess", "queue", "inference"].map((name, i) => ({ name: <><span class={`key stage-${i}`} aria-hidden="true" /> {name}</>, number: true })), num("total"), "share"]}
      rows={rows.map((r) => ({
        key: r.target,
        cells: [
          r.target,
          ...r.parts.map((p) => ms(p)),
          ms(total(r.parts)),
          <span class="stages" aria-hidden="true">
            {r.parts.map((p, i) => <span class={`stage-${i}`} style={{ width: `${(100 * p) / longest}%` }} />)}
          </span>,
        ],
      }))}
    />
  );
}
