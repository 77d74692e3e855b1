import { useMemo, useState } from "preact/hooks";

import { answer, type Benchmark, type BenchmarkSubject, client, Failure, type Interval } from "../../api/client";
import { type Line, Plot } from "../../charts/Plot";
import { Await } from "../../parts/Await";
import { Choice, NumberField } from "../../parts/Choice";
import { Verdict } from "../../parts/PairTable";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { TokenField } from "../../parts/Token";
import { digits, interval, when } from "../../state/format";
import { useWork } from "../../state/load";
import { href, type Route } from "../../state/address";
import { setQuery } from "../../state/route";
import { choices, getRun, useModels, useRuns } from "../../state/service";
import { knee } from "./knee";

/** Queries at each rate: p99 needs 368 for its interval. */
const leastCount = 400;

/** A target of a run at one rate. */
export interface Point {
  run: Benchmark;
  rate: number;
  subject: BenchmarkSubject;
}

/** Offered against served load: what rate a target keeps up with, and where its knee is. */
export function ScalingView({ route }: { route: Route }) {
  const models = useModels();
  const [runs, again] = useRuns();
  const asked = route.query.get("model") ?? "";
  return (
    <>
      <p class="lead">
        Queries come at random times at a rate that does not wait for answers. Where a target keeps up, it serves what is offered; past its knee queries queue, and p99 climbs.
      </p>
      <Await load={models} what="models">
        {(list) => {
          const names = choices(list);
          const model = asked || (list.default ?? names[0] ?? "");
          return (
            <>
              <div class="controls"><Choice label="Model" value={model} options={names} onChange={(m) => setQuery({ model: m })} /></div>
              <Await load={runs} what="runs">{(all) => <Curves runs={all} model={model} />}</Await>
              <Sweep model={model} onRun={again} />
            </>
          );
        }}
      </Await>
    </>
  );
}

function pointsOf(runs: Benchmark[], model: string): Map<string, Point[]> {
  const out = new Map<string, Point[]>();
  for (const run of runs) {
    const { plan, summary } = run;
    if (plan.scenario !== "server" || run.origin !== "api" || run.state !== "done" || !summary || plan.rate === undefined) continue;
    for (const subject of summary.subjects) {
      if (subject.model !== model || subject.error) continue;
      const key = `${subject.label}, ${plan.threads} ${plan.threads === 1 ? "thread" : "threads"}`;
      out.set(key, [...(out.get(key) ?? []), { run, rate: plan.rate, subject }]);
    }
  }
  for (const points of out.values()) points.sort((a, b) => a.rate - b.rate || a.run.id.localeCompare(b.run.id));
  return new Map([...out].sort(([a], [b]) => a.localeCompare(b)));
}

function Curves({ runs, model }: { runs: Benchmark[]; model: string }) {
  const all = useMemo(() => pointsOf(runs, model), [runs, model]);
  if (all.size === 0) return <p>There is no run of the scenario server with this model yet. Measure a sweep below, or run <code>api bench --scenario server --rate 50 --models {model}</code> at several rates.</p>;
  const counted = new Map([...all].map(([name, points]): [string, Point[]] => [name, points.filter((p) => p.subject.valid)]).filter(([, points]) => points.length > 0));
  const left = [...all.values()].flat().filter((p) => !p.subject.valid).length;
  const rates = [...new Set([...counted.values()].flatMap((ps) => ps.map((p) => p.rate)))].sort((a, b) => a - b);
  const newest = (points: Point[], rate: number) => points.filter((p) => p.rate === rate).at(-1);
  const names = [...counted.keys()];
  // Each target's estimate, and the bounds of its interval.
  const lines = names.flatMap((name, i): Line[] => [
    { name, series: i, style: "line", points: true },
    { name, series: i, style: "line", bound: "low" },
    { name, series: i, style: "line", bound: "high" },
  ]);
  const data = (of: (p: Point) => Interval, least = 0) =>
    [...counted.values()].flatMap((ps) =>
      (["value", "low", "high"] as const).map((key) =>
        rates.map((r) => {
          const p = newest(ps, r);
          const v = p && of(p)[key];
          return v === undefined ? null : Math.max(v, least);
        }),
      ),
    );
  return (
    <>
      {left > 0 && <p class="note">{left} of {[...all.values()].flat().length} points break a rule of their run and are left out of the curves; the last table has them.</p>}
      {rates.length > 0 && (
        <>
          <Plot
            spec={{
              caption: "Served against offered load, with 95 % intervals; the newest run at each rate. The thin line is a target that keeps up",
              x: { label: "offered, queries a second" },
              y: { label: "served, queries a second" },
              lines: [...lines, { name: "keeps up", series: 0, style: "line", aside: true }],
            }}
            data={[rates, ...data((p) => p.subject.throughput), rates]}
          />
          <Plot
            spec={{ caption: "p99 from the scheduled arrival to the answer, with 95 % intervals", x: { label: "offered, queries a second" }, y: { label: "p99, ms", log: true }, lines }}
            data={[rates, ...data((p) => p.subject.p99_ms, 1e-3)]}
          />
          <Table
            caption="The knee: the highest rate up to which a target serves what is offered (95 % of it lies within the interval of what it serves, or below) and p99 is within the bound"
            columns={["target", num("knee, queries a second"), "what the next rate breaks"]}
            rows={[...counted].map(([name, points]) => {
              const k = knee(rates.flatMap((r) => newest(points, r) ?? []));
              return { key: name, cells: [name, k.rate === undefined ? "under the lowest rate" : digits(k.rate), k.why ?? "nothing: no rate above it was measured"] };
            })}
          />
        </>
      )}
      <Table
        caption="All runs, with 95 % intervals"
        columns={["target", "counts", num("offered"), num("served"), num("p50, ms"), num("p99, ms"), "p99 within the bound", num("unanswered"), "run"]}
        rows={[...all].flatMap(([name, points]) =>
          points.map((p) => ({
            key: `${name} ${p.run.id}`,
            cells: [
              name,
              <Verdict good={p.subject.valid} words={["yes", "breaks a rule"]} />,
              digits(p.rate),
              interval(p.subject.throughput),
              interval(p.subject.p50_ms),
              interval(p.subject.p99_ms),
              p.subject.bound_met ? <span class="good">✓ yes</span> : <span class="bad">✗ no</span>,
              p.subject.unanswered ?? 0,
              <a href={href("scorecard", [p.run.id])}>{when(p.run.created)}</a>,
            ],
          })),
        )}
      />
    </>
  );
}

/** Waits until a run has ended. */
async function ended(id: string, signal: AbortSignal): Promise<Benchmark> {
  for (;;) {
    const run = await getRun(id, signal);
    if (run.state !== "running") return run;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    signal.throwIfAborted();
  }
}

/** Measures one run after another at growing rates. */
function Sweep({ model, onRun }: { model: string; onRun: () => void }) {
  const [from, setFrom] = useState(10);
  const [to, setTo] = useState(200);
  const [steps, setSteps] = useState(6);
  const [bound, setBound] = useState(100);
  const [at, setAt] = useState("");
  const [load, run, stop] = useWork<string>();
  const rates = Array.from({ length: steps }, (_, i) => Math.round(10 * from * (to / from) ** (steps > 1 ? i / (steps - 1) : 0)) / 10);
  const measure = () =>
    run(async (signal) => {
      for (const [i, rate] of rates.entries()) {
        setAt(`Rate ${digits(rate)} a second, ${i + 1} of ${rates.length} …`);
        const query = { models: [model], scenario: "server" as const, rate, bound_ms: bound, min_duration_ms: 3000, min_count: leastCount, blocks: 10 };
        const begun = await answer<Benchmark>(client.POST("/benchmarks", { params: { query }, signal }));
        const { state } = await ended(begun.id, signal);
        onRun();
        if (state !== "done") throw new Failure({ title: "The sweep has stopped", detail: `The run at ${digits(rate)} a second was ${state}.` });
      }
      return `${rates.length} runs are done.`;
    });
  return (
    <section aria-label="Measure a sweep">
      <h2>Measure a sweep</h2>
      <TokenField purpose="start benchmarks" />
      <form class="panel" onSubmit={(e) => (e.preventDefault(), void measure())}>
        <div class="controls">
          <NumberField label="From, queries a second" value={from} min={0.1} step="any" onChange={setFrom} />
          <NumberField label="To" value={to} min={0.1} step="any" onChange={setTo} />
          <NumberField label="Rates" value={steps} min={1} max={20} onChange={setSteps} />
          <NumberField label="p99 is to stay under, ms" value={bound} min={0.1} step="any" onChange={setBound} />
        </div>
        <p class="soft">Rates: {rates.map((r) => digits(r)).join(", ")}. It takes about {digits(rates.reduce((sum, r) => sum + Math.max(3, leastCount / r), 0), 2)} s for every target: three seconds at each rate, or as long as {leastCount} queries take, which the interval of p99 needs. Keep this view open: it begins one run after another.</p>
        <p class="controls">
          <button class="primary" disabled={load.state === "loading"}>Measure</button>
          {load.state === "loading" && <button type="button" onClick={stop}>Stop after this run</button>}
          <span role="status">{load.state === "loading" ? at : load.state === "ok" ? load.value : ""}</span>
        </p>
      </form>
      {load.state === "error" && <Problem trouble={load.trouble} />}
    </section>
  );
}
