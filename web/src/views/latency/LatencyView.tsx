import { useMemo } from "preact/hooks";

import type { Benchmark } from "../../api/client";
import { ecdf, histogram } from "../../charts/distribution";
import { Plot } from "../../charts/Plot";
import { percentile, quantile } from "../../device/stats";
import { Await } from "../../parts/Await";
import { Tick } from "../../parts/Choice";
import { RunPicker } from "../../parts/RunPicker";
import { num, Table } from "../../parts/Table";
import { type BundleSubject, getBundle } from "../../state/bundle";
import { digits } from "../../state/format";
import { useLoad } from "../../state/load";
import { type Route } from "../../state/address";
import { setQuery } from "../../state/route";
import { type Group, groupsOf } from "../scorecard/groups";
import { RunFacts } from "../scorecard/ScorecardView";

/** The raw samples of a run: how they are distributed and how they went over time. */
export function LatencyView({ route }: { route: Route }) {
  const log = route.query.get("x") !== "linear";
  return (
    <RunPicker view="latency" id={route.rest[0]}>
      {(run) => <Latency key={run.id} run={run} log={log} />}
    </RunPicker>
  );
}

function Latency({ run, log }: { run: Benchmark; log: boolean }) {
  const [bundle] = useLoad((signal) => getBundle(run.id, signal), [run.id]);
  return (
    <>
      <RunFacts run={run} />
      <Tick checked={log} onChange={(on) => setQuery({ x: on ? "" : "linear" })}>logarithmic times</Tick>
      <Await load={bundle} what="the raw samples">
        {(b) => groupsOf(b.subjects, run.plan.peers).map((group) => <Charts key={group.title} group={group} log={log} />)}
      </Await>
    </>
  );
}

const samplesOf = (s: BundleSubject) => s.slices.flatMap((l) => l.samples_ms);

function Charts({ group, log }: { group: Group<BundleSubject>; log: boolean }) {
  const { title, name } = group;
  const all = useMemo(() => {
    const subjects = group.subjects.filter((s) => !s.error);
    const sets = subjects.map(samplesOf);
    return { subjects, sets, sorted: sets.map((s) => [...s].sort((a, b) => a - b)), ecdf: ecdf(sets), histogram: histogram(sets), course: course(subjects) };
  }, [group.subjects]);
  const { subjects, sorted } = all;
  const outside = all.histogram.outside.reduce((a, b) => a + b, 0);
  return (
    <section aria-label={title}>
      <h2 class="name">{title}</h2>
      <Plot
        spec={{ caption: "Share of the queries that were answered within a time (ECDF)", x: { label: "ms", log }, y: { label: "% of the queries", range: [0, 100] }, lines: subjects.map((s, i) => ({ name: name(s), series: i, style: "step" })) }}
        data={all.ecdf}
      />
      <Plot
        spec={{
          caption: `Histogram of the times in bins of equal width${outside ? `; ${outside} longer times lie to the right of it` : ""}`,
          x: { label: "ms" },
          y: { label: "% of the queries" },
          lines: subjects.map((s, i) => ({ name: name(s), series: i, style: "step" })),
        }}
        data={all.histogram.data}
      />
      <Plot
        spec={{ caption: "Median of each target's turn over the run: a slope is drift", x: { label: "s since the begin" }, y: { label: "ms" }, lines: subjects.map((s, i) => ({ name: name(s), series: i, style: "line", points: true })) }}
        data={all.course}
      />
      <Table
        caption={`${title}: percentiles of the raw samples in ms`}
        columns={["target", num("samples"), num("least"), num("p50"), num("p90"), num("p99"), num("p99.9"), num("most")]}
        rows={subjects.map((s, i) => {
          const v = sorted[i] ?? [];
          return { key: name(s), cells: [name(s), v.length, ...[0, 0.5, 0.9, 0.99, 0.999, 1].map((q) => digits(quantile(v, q)))] };
        })}
      />
    </section>
  );
}

/** The median of every turn by its begin in seconds, for each subject. */
function course(subjects: BundleSubject[]): [number[], ...(number | null)[][]] {
  const times = subjects.flatMap((s) => s.slices.map((l) => l.start_ms / 1000)).sort((a, b) => a - b);
  const at = new Map(times.map((t, i) => [t, i]));
  const lines = subjects.map((s) => {
    const line = new Array<number | null>(times.length).fill(null);
    for (const l of s.slices) line[at.get(l.start_ms / 1000) ?? 0] = percentile(l.samples_ms, 0.5);
    return line;
  });
  return [times, ...lines];
}
