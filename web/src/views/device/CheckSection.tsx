import { useState } from "preact/hooks";

import type { Runner } from "../../device/runners";
import { agreementCells, agreementColumns, Verdict } from "../../parts/PairTable";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { digits, ms } from "../../state/format";
import { useWork } from "../../state/load";
import { sampleFile, samples } from "../../state/samples";
import { type Check, check, type Row } from "./check";

/** A photograph on this browser's runners: do they agree with purego? */
export function CheckSection({ model, runners, threads, busy, onBusy }: { model: string; runners: Runner[]; threads: number; busy: boolean; onBusy: (busy: boolean) => void }) {
  const [load, run, stop] = useWork<Check>();
  const [rows, setRows] = useState<Row[]>([]);
  const begin = (photograph: (signal: AbortSignal) => Promise<File>) => {
    setRows([]);
    onBusy(true);
    void run((signal) => check(model, photograph, runners, threads, signal, setRows)).finally(() => onBusy(false));
  };
  return (
    <section aria-label="Agreement">
      <h2>Do they agree with the server?</h2>
      <div class="controls">
        {samples.map((s) => (
          <button key={s.name} type="button" class="pick" disabled={runners.length === 0 || busy} onClick={() => begin((signal) => sampleFile(s, signal))}>
            <img src={s.file} alt={s.alt} width="56" height="56" />
            <span>check the {s.name}</span>
          </button>
        ))}
        <label class="field">
          A photograph of yours
          <input
            type="file"
            accept="image/*"
            disabled={runners.length === 0 || busy}
            onChange={(e) => {
              const file = e.currentTarget.files?.[0];
              e.currentTarget.value = "";
              if (file) begin(async () => file);
            }}
          />
        </label>
        {load.state === "loading" && <button type="button" onClick={stop}>Stop</button>}
      </div>
      <p role="status" class="soft">{load.state === "loading" && `${rows.length} of ${runners.length} done …`}{load.state === "ok" && summary(load.value)}</p>
      {load.state === "error" && <Problem trouble={load.trouble} />}
      {rows.length > 0 && (
        <Table
          caption="Logits of each runner against the server's purego, on the pixels that the server has made"
          columns={["runner", "verdict", "first class", ...agreementColumns, "threads", num("runtime and first session"), num("another session"), num("own pixels: max |Δ|"), "own pixels: first class"]}
          rows={rows.map((r) => ({
            key: r.runner.id,
            cells: r.served
              ? [
                  r.runner.id,
                  <Verdict good={r.agrees ?? false} />,
                  r.top,
                  ...agreementCells(r.served),
                  r.description?.threads,
                  ms(r.runtimeMS ?? 0),
                  ms(r.openMS ?? 0),
                  r.own ? digits(r.own.max_abs) : "–",
                  r.own ? <Verdict good={r.own.top1_equal} words={["equal", "differs"]} /> : "–",
                ]
              : [r.runner.id, <span class="bad">could not run</span>, <span class="long">{r.error}</span>],
          }))}
        />
      )}
      {load.state === "ok" && (
        <p class="soft">
          {"error" in load.value.inputs
            ? `This browser could not make the input itself: ${load.value.inputs.error}`
            : load.value.inputs.levels === 0
              ? "The input that this browser makes by the model's own preprocessing is the server's."
              : `The input that this browser makes by the model's own preprocessing differs from the server's by at most ${digits(load.value.inputs.levels, 2)} of 255 levels: its decoder rounds differently. What that does to the logits stands under "own pixels".`}
        </p>
      )}
    </section>
  );
}

function summary(c: Check): string {
  const ran = c.rows.filter((r) => r.served);
  const good = ran.filter((r) => r.agrees).length;
  return `purego says ${c.top}${c.model.untrained ? ", untrained: its classes mean nothing" : ""}. ${good} of ${ran.length} ${ran.length === 1 ? "runner agrees" : "runners agree"} with it${ran.length < c.rows.length ? `; ${c.rows.length - ran.length} could not run` : ""}.`;
}
