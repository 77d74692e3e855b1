import type { Benchmark, BenchmarkSubject, Interval } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { Await } from "../../parts/Await";
import { Origin, runName } from "../../parts/RunPicker";
import { num, Table } from "../../parts/Table";
import { type Bundle, getBundle } from "../../state/bundle";
import { bytes, digits, interval } from "../../state/format";
import { useLoad } from "../../state/load";
import { href } from "../../state/address";
import { getRun } from "../../state/service";
import { mainFigure } from "../scorecard/figure";
import { quotient } from "./runs";

interface Both {
  a: Benchmark;
  b: Benchmark;
  bundles: [Bundle, Bundle];
}

/** Two runs side by side. */
export function CompareRuns({ a, b }: { a: string; b: string }) {
  const [both] = useLoad(async (signal): Promise<Both> => {
    const [ra, rb, ba, bb] = await Promise.all([getRun(a, signal), getRun(b, signal), getBundle(a, signal), getBundle(b, signal)]);
    return { a: ra, b: rb, bundles: [ba, bb] };
  }, [a, b]);
  return (
    <>
      <p><a href={href("history")}>All runs</a> · <a href={href("history", [b, a])}>the other way round</a></p>
      <Await load={both} what="both runs">{(v) => <Sides {...v} />}</Await>
    </>
  );
}

function Sides({ a, b, bundles }: Both) {
  const figure = mainFigure(a.plan.scenario);
  const key = (s: BenchmarkSubject) => `${s.model}, ${s.label}`;
  const pairs = (a.summary?.subjects ?? []).flatMap((s) => {
    const other = b.summary?.subjects.find((o) => key(o) === key(s));
    return other && !s.error && !other.error ? [{ name: key(s), a: s, b: other, ratio: quotient(figure.of(other), figure.of(s)) }] : [];
  });
  const different = differences(bundles[0], bundles[1], a, b);
  return (
    <>
      <ul>
        <li>A: <a href={href("scorecard", [a.id])}>{runName(a)}</a> <Origin run={a} /></li>
        <li>B: <a href={href("scorecard", [b.id])}>{runName(b)}</a> <Origin run={b} /></li>
      </ul>
      {a.origin !== b.origin && <p class="note">One of the two was measured by a browser, whose clock and threads are others.</p>}
      {a.plan.scenario !== b.plan.scenario && <p class="note">The scenarios differ, so the figures say different things.</p>}
      {pairs.length === 0 ? (
        <p>The two have no model on a target in common.</p>
      ) : (
        <>
          <DotPlot caption={`${figure.name} of B over that of A. The runs lie apart in time, so drift is in the ratio; its bounds are the extremes of both intervals`} unit="B / A" dots={pairs.map((p) => ({ name: p.name, value: p.ratio, invalid: !p.a.valid || !p.b.valid }))} mark={1} />
          <Table
            caption={`${figure.name} in ${figure.unit}`}
            columns={["model, target", num("A"), num("B"), num("B / A"), "verdict"]}
            rows={pairs.map((p) => ({
              key: p.name,
              cells: [p.name, interval(figure.of(p.a)), interval(figure.of(p.b)), interval(p.ratio), verdictOf(p.ratio, p.a.valid && p.b.valid)],
            }))}
          />
        </>
      )}
      <h2>What else differs</h2>
      {different.length ? (
        <Table caption="Settings and machines" columns={["what", "A", "B"]} rows={different.map(([what, va, vb]) => ({ key: what, cells: [what, <span class="wrap">{va}</span>, <span class="wrap">{vb}</span>] }))} />
      ) : (
        <p>Nothing: the plan, the models and the machine are the same.</p>
      )}
    </>
  );
}

function verdictOf(r: Interval, counts: boolean): string {
  if (!counts) return "one of them does not count";
  if (r.low === undefined || r.high === undefined) return "no interval";
  return r.low > 1 ? "B is above A" : r.high < 1 ? "B is below A" : "no difference shown";
}

function differences(x: Bundle, y: Bundle, a: Benchmark, b: Benchmark): [string, string, string][] {
  const facts = (bundle: Bundle, run: Benchmark): Record<string, string> => {
    const e = bundle.environment;
    return {
      processor: `${e.cpu}, ${e.cores} cores`,
      memory: bytes(e.memory_bytes),
      system: `${e.os} ${e.arch} ${e.kernel}`,
      governor: e.governor,
      browser: e.browser ?? "",
      version: e.version,
      threads: String(run.plan.threads),
      blocks: String(run.plan.blocks),
      "duration of each target": `${digits(run.plan.min_duration_ms / 1000)} s`,
      ...Object.fromEntries(bundle.models.map((m) => [`hash of ${m.name}`, m.hash.slice(0, 12)])),
      ...Object.fromEntries(bundle.subjects.flatMap((s) => (s.description ? [[`${s.label} on ${s.model}`, `${s.description.provider}, ${s.description.library_version || "no library"}, ${s.description.threads} threads`]] : []))),
    };
  };
  const fa = facts(x, a), fb = facts(y, b);
  return [...new Set([...Object.keys(fa), ...Object.keys(fb)])].filter((k) => fa[k] !== fb[k]).map((k) => [k, fa[k] ?? "–", fb[k] ?? "–"]);
}
