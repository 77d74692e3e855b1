import { useEffect, useMemo } from "preact/hooks";

import { answer, type Benchmark, client } from "../../api/client";
import { Plot } from "../../charts/Plot";
import { percentile, quantile } from "../../device/stats";
import { Await } from "../../parts/Await";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { TokenField } from "../../parts/Token";
import { type Turn, useEvents } from "../../state/events";
import { digits } from "../../state/format";
import { useLoad, useWork } from "../../state/load";
import { href } from "../../state/address";
import { getRun } from "../../state/service";
import { useStore } from "../../state/store";
import { token } from "../../state/token";
import { RunFacts, Scorecard } from "../scorecard/ScorecardView";

/** A run as it goes, and its scorecard when it is done. */
export function Watch({ id }: { id: string }) {
  const [run, again] = useLoad((signal) => getRun(id, signal), [id]);
  const running = run.state === "ok" && run.value.state === "running";
  const events = useEvents<Turn>(`/benchmarks/${encodeURIComponent(id)}`, running);
  useEffect(() => {
    if (events.end) again();
  }, [events.end]);
  return (
    <Await load={run} what="the run">
      {(r) => (
        <>
          {r.state === "running" && <Live run={r} turns={events.progress} lost={events.lost} />}
          {r.state === "done" && (
            <>
              <p role="status">The run is done. <a href={href("latency", [r.id])}>Latency</a> · <a href={href("resources", [r.id])}>memory, start, energy</a> · <a href={href("history")}>all runs</a></p>
              <Scorecard run={r} />
            </>
          )}
          {r.state === "failed" && <Problem trouble={{ title: "The run failed", ...(r.error ? { detail: r.error } : {}) }} />}
          {(r.state === "cancelled" || r.state === "interrupted") && <p role="status">The run was {r.state}; its samples are not kept. <a href={href("benchmark")}>Start another</a></p>}
        </>
      )}
    </Await>
  );
}

function Live({ run, turns, lost }: { run: Benchmark; turns: Turn[]; lost: boolean }) {
  const [cancelled, cancel] = useWork<unknown>();
  const last = turns.at(-1);
  const done = last?.done ?? run.progress?.done ?? 0;
  const total = last?.total ?? run.progress?.total ?? 1;
  const live = useMemo(() => liveOf(turns, run.plan.targets), [turns]);
  return (
    <>
      <RunFacts run={run} />
      <label class="progress">
        <span>{done} of {total} turns{last && `, block ${last.block + 1} of ${run.plan.blocks}`}</span>
        <progress value={done} max={total} />
      </label>
      <p role="status" class="soft">{lost ? "The connection is gone; trying again …" : "The run goes on when this page is closed."}</p>
      {!useStore(token) && <TokenField purpose="cancel the run" />}
      <p>
        <button type="button" disabled={cancelled.state === "loading" || cancelled.state === "ok"} onClick={() => void cancel((signal) => answer(client.DELETE("/benchmarks/{id}", { params: { path: { id: run.id } }, signal })))}>
          Cancel the run
        </button>
      </p>
      <Await load={cancelled} what="the answer">{() => <p role="status">It ends after the turn in progress.</p>}</Await>
      {live.names.length > 0 && (
        <>
          <Plot
            spec={{ caption: "Median of each turn so far", x: { label: "block" }, y: { label: "ms" }, lines: live.names.map((name, i) => ({ name, series: i, style: "line", points: true })) }}
            data={live.data}
          />
          <Table
            caption="Samples so far; figures with intervals come at the end"
            columns={["target", num("samples"), num("median, ms"), num("p90, ms")]}
            rows={live.names.map((name, i) => {
              const s = live.samples[i] ?? [];
              return { key: name, cells: [name, s.length, digits(quantile(s, 0.5)), digits(quantile(s, 0.9))] };
            })}
          />
        </>
      )}
    </>
  );
}

function liveOf(turns: Turn[], targets: string[]): { names: string[]; data: [number[], ...(number | null)[][]]; samples: number[][] } {
  const several = new Set(turns.map((t) => t.model)).size > 1;
  const nameOf = (t: Turn) => (several ? `${t.model}, ${t.label}` : t.label);
  // In the order of the plan, so that the colours are those of the scorecard.
  const place = (t: Turn) => targets.indexOf(t.label.replace(/ #\d+$/, ""));
  const names = [...new Set([...turns].sort((a, b) => a.model.localeCompare(b.model) || place(a) - place(b) || a.label.localeCompare(b.label)).map(nameOf))];
  const blocks = Math.max(0, ...turns.map((t) => t.block + 1));
  const lines = names.map(() => new Array<number | null>(blocks).fill(null));
  const samples = names.map((): number[] => []);
  for (const t of turns) {
    const i = names.indexOf(nameOf(t));
    const line = lines[i];
    if (line) line[t.block] = percentile(t.samples_ms, 0.5);
    samples[i]?.push(...t.samples_ms);
  }
  for (const s of samples) s.sort((a, b) => a - b);
  return { names, data: [Array.from({ length: blocks }, (_, i) => i + 1), ...lines], samples };
}
