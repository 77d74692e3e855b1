import type { Benchmark, BenchmarkSubject, Interval } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { Marker } from "../../charts/Marker";
import { Findings } from "../../parts/Findings";
import { Origin, RunPicker } from "../../parts/RunPicker";
import { Facts, num, Table } from "../../parts/Table";
import { bytes, digits, interval, percent, when } from "../../state/format";
import { href, type Route } from "../../state/address";
import { quotient } from "../history/runs";
import { mainFigure } from "./figure";
import { type Group, groupsOf } from "./groups";

/** Targets by figures, with the ratio to the best. */
export function ScorecardView({ route }: { route: Route }) {
  return <RunPicker view="scorecard" id={route.rest[0]}>{(run) => <Scorecard run={run} />}</RunPicker>;
}

export function Scorecard({ run }: { run: Benchmark }) {
  const { summary } = run;
  if (!summary) return null;
  return (
    <>
      <RunFacts run={run} />
      {!summary.valid && <p class="problem">This run breaks a rule, so nothing in it is ranked; below stands which.</p>}
      {groupsOf(summary.subjects, run.plan.peers).map((group) => <Card key={group.title} run={run} group={group} />)}
      <h2>Rules</h2>
      <Findings findings={summary.findings} />
    </>
  );
}

export function RunFacts({ run }: { run: Benchmark }) {
  const { plan } = run;
  return (
    <>
      <p><Origin run={run} /></p>
      <Facts
        pairs={[
          [run.state === "running" ? "begun" : "measured", when(run.created)],
          ["scenario", `${plan.scenario}${plan.rate ? `, ${digits(plan.rate)} queries a second, p99 under ${digits(plan.bound_ms ?? 0)} ms` : ""}${plan.batch > 1 ? `, batches of ${plan.batch}` : ""}`],
          ["threads", plan.threads],
          ["blocks", `${plan.blocks}, each target once in each, in an order drawn anew`],
          ["run", <><code>{run.id}</code>{run.state === "done" && <> · <a href={`/benchmarks/${encodeURIComponent(run.id)}/bundle`} download>bundle with the raw samples</a></>}</>],
        ]}
      />
    </>
  );
}

function Card({ run, group: { title, model, subjects, reference, name } }: { run: Benchmark; group: Group<BenchmarkSubject> }) {
  const figure = mainFigure(run.plan.scenario);
  const best = bestOf(subjects, figure);
  const measured = subjects.filter((s) => !s.error);
  return (
    <section aria-label={title}>
      <h2 class="name">{model ? <a href={href("models", [model])}>{model}</a> : title}</h2>
      <DotPlot caption={`${figure.name} of each target with its 95 % interval; hollow where it does not count`} unit={figure.unit} dots={subjects.map((s) => ({ name: name(s), value: s.error ? undefined : figure.of(s), invalid: !s.valid }))} zero />
      {measured.length > 1 && run.plan.scenario !== "server" && (
        <DotPlot caption={`Time over that of ${reference} in the same block: the median of the blocks' ratios with its 95 % interval`} unit="ratio" dots={subjects.map((s) => ({ name: name(s), value: s.error || s.ratio.value === 0 ? undefined : s.ratio, invalid: !s.valid }))} mark={1} />
      )}
      <Table
        caption={`${title}: figures with 95 % intervals in brackets, where there are any`}
        columns={["target", num("rank"), num("p50, ms"), num("p90, ms"), num("p99, ms"), { name: `ratio to ${reference}`, number: true }, { name: `${figure.name} to the best`, number: true }, num("images/s"), num("GFLOP/s"), num("of the peak"), num("memory"), num("samples")]}
        rows={subjects.map((s, i) => ({
          key: name(s),
          class: s.valid ? undefined : "invalid",
          cells: s.error
            ? [<><Marker i={i} /> {name(s)}</>, "", <span class="bad">could not run: {s.error}</span>]
            : [
                <><Marker i={i} /> {name(s)}</>,
                s.rank ?? "not ranked",
                interval(s.p50_ms),
                interval(s.p90_ms),
                interval(s.p99_ms),
                s.ratio.value ? interval(s.ratio) : "",
                best && s.valid ? interval(best(s)) : "",
                interval(s.throughput),
                s.gflops ? digits(s.gflops) : "",
                s.peak_share === undefined ? "" : percent(s.peak_share),
                s.resident_bytes.missing ? <abbr title={s.resident_bytes.missing}>not measured</abbr> : bytes(s.resident_bytes.value),
                s.samples,
              ],
        }))}
      />
    </section>
  );
}

/** A subject's figure over the best one's, so that 1 is the best; its bounds are the extremes of both intervals. */
function bestOf(subjects: BenchmarkSubject[], figure: ReturnType<typeof mainFigure>): ((s: BenchmarkSubject) => Interval) | undefined {
  const counted = subjects.filter((s) => !s.error && s.valid);
  const better = (a: BenchmarkSubject, b: BenchmarkSubject) => (figure.of(a).value > figure.of(b).value) === figure.more ? a : b;
  if (counted.length === 0) return undefined;
  const best = counted.reduce(better);
  return (s) => (s === best ? { value: 1 } : figure.more ? quotient(figure.of(best), figure.of(s)) : quotient(figure.of(s), figure.of(best)));
}
