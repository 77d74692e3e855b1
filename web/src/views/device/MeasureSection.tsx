import { useState } from "preact/hooks";

import { answer, type Benchmark, client, raw } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { type Bundle, gzipBundle } from "../../device/bundle";
import { measure, type Progress } from "../../device/measure";
import type { Runner } from "../../device/runners";
import { bootstrapMedian, median, percentile, timingOf } from "../../device/stats";
import { Await } from "../../parts/Await";
import { NumberField } from "../../parts/Choice";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { TokenField } from "../../parts/Token";
import { href } from "../../state/address";
import { digits, interval } from "../../state/format";
import { useWork } from "../../state/load";
import { base, exported, loadModel, serviceVersion } from "./check";

/** Measures this browser's runners by the rules of the server's benchmarks. */
export function MeasureSection({ model, runners, threads, busy, onBusy }: { model: string; runners: Runner[]; threads: number; busy: boolean; onBusy: (busy: boolean) => void }) {
  const [seconds, setSeconds] = useState(3);
  const [blocks, setBlocks] = useState(20);
  const [progress, setProgress] = useState<Progress>();
  const [opening, setOpening] = useState("");
  const [load, run, stop] = useWork<Bundle>();
  const [sent, send, forget] = useWork<Benchmark>();

  const begin = () => {
    setProgress(undefined);
    forget();
    onBusy(true);
    void run(async (signal) => {
      const [m, version] = await Promise.all([loadModel(model, signal), serviceVersion(signal)]);
      return measure({
        models: [{ name: model, hash: m.hash ?? "", untrained: m.untrained, macs: m.macs ?? 0, size: m.config?.input_size ?? 224, file: (format, s) => exported(model, format, s) }],
        runners,
        plan: { threads, min_duration_ms: 1000 * seconds, blocks, seed: 1 + Math.floor(Math.random() * 2 ** 52) },
        base,
        version,
        opening: (_, label) => setOpening(label),
        // Drawn before the next turn begins.
        progress: (p) => new Promise((resolve) => (setProgress(p), requestAnimationFrame(() => setTimeout(resolve)))),
        signal,
      });
    }).finally(() => onBusy(false));
  };
  const submit = (b: Bundle) => void send(async (signal) => answer<Benchmark>(client.POST("/benchmarks/import", { ...raw(await gzipBundle(b)), signal })));
  const save = async (b: Bundle) => {
    const url = URL.createObjectURL(await gzipBundle(b));
    Object.assign(document.createElement("a"), { href: url, download: `${b.id}.json.gz` }).click();
    URL.revokeObjectURL(url);
  };

  return (
    <section aria-label="Measure">
      <h2>How fast are they here?</h2>
      <form class="panel" onSubmit={(e) => (e.preventDefault(), begin())}>
        <div class="controls">
          <NumberField label="Seconds for each runner" value={seconds} min={0.1} max={600} step="any" onChange={setSeconds} />
          <NumberField label="Blocks" value={blocks} min={1} max={1000} onChange={setBlocks} />
          <button class="primary" disabled={runners.length === 0 || busy}>Measure this device</button>
          {load.state === "loading" && <button type="button" onClick={stop}>Stop</button>}
        </div>
        <p class="soft">As on the server: every runner has its turn in every block, in an order drawn anew. Keep this page in view; a turn during which it is hidden is repeated.</p>
      </form>
      {load.state === "loading" && (
        <label class="progress">
          <span role="status">{progress ? `${progress.done} of ${progress.total} turns, ${progress.label}: ${digits(median(progress.samples_ms))} ms` : opening ? `Opening ${opening} …` : "Beginning …"}</span>
          <progress value={progress?.done ?? 0} max={progress?.total ?? 1} />
        </label>
      )}
      {load.state === "error" && <Problem trouble={{ title: "The device was not measured", detail: load.trouble.detail ?? load.trouble.title }} />}
      {load.state === "ok" && (
        <>
          <Figures bundle={load.value} />
          <h3>Keep it</h3>
          <p class="soft">The server checks every field, makes the figures anew from the raw samples, and marks the run as measured by a browser wherever it stands.</p>
          <TokenField purpose="keep the run on the server" />
          <p class="controls">
            <button type="button" class="primary" disabled={sent.state === "loading" || sent.state === "ok"} onClick={() => submit(load.value)}>Keep it on the server</button>
            <button type="button" onClick={() => void save(load.value)}>Save the bundle</button>
          </p>
          <Await load={sent} what="the answer">{(r) => <p role="status">Kept: <a href={href("scorecard", [r.id])}>its scorecard</a>.</p>}</Await>
        </>
      )}
    </section>
  );
}

function Figures({ bundle }: { bundle: Bundle }) {
  const medians = bundle.subjects.map((s) => s.slices.map((l) => median(l.samples_ms)));
  const seed = bundle.plan.seed;
  const rows = bundle.subjects.map((s, i) => {
    const times = medians[i] ?? [];
    const reference = medians[0] ?? [];
    return { s, all: s.slices.flatMap((l) => l.samples_ms), p50: bootstrapMedian(times, seed), ratio: reference.length && times.length ? timingOf(times, reference, seed).ratio : undefined };
  });
  const first = bundle.subjects[0]?.label;
  return (
    <>
      <DotPlot caption="Median of the turns' medians with its 95 % interval, measured by this browser" unit="ms" dots={rows.map((r) => ({ name: r.s.label, value: r.s.error === undefined ? r.p50 : undefined, invalid: true }))} zero />
      <p class="soft">Hollow, since they have not been held against the rules: drift and too few samples are found when the server takes the run in.</p>
      <Table
        caption={`Measured by this browser; ${bundle.plan.blocks} blocks`}
        columns={["runner", num("median, ms"), num("p90, ms"), num("p99, ms"), { name: `ratio to ${first}`, number: true }, num("threads"), num("samples")]}
        rows={rows.map((r) => ({
          key: r.s.label,
          cells:
            r.s.error === undefined
              ? [r.s.label, interval(r.p50), digits(percentile(r.all, 0.9)), digits(percentile(r.all, 0.99)), r.ratio ? interval(r.ratio) : "", r.s.description?.threads ?? "", r.all.length]
              : [r.s.label, <span class="bad">could not run</span>, <span class="long">{r.s.error}</span>],
        }))}
      />
    </>
  );
}
