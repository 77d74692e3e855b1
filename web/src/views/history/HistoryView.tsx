import { useState } from "preact/hooks";

import { answer, type Benchmark, client, raw } from "../../api/client";
import { Await } from "../../parts/Await";
import { Choice } from "../../parts/Choice";
import { Origin } from "../../parts/RunPicker";
import { Table } from "../../parts/Table";
import { TokenField } from "../../parts/Token";
import { when } from "../../state/format";
import { useWork } from "../../state/load";
import { href, type Route } from "../../state/address";
import { setQuery } from "../../state/route";
import { listed, useRuns } from "../../state/service";
import { CompareRuns } from "./CompareRuns";
import { matches } from "./runs";

/** The runs that are kept: filter them, open one, compare two. */
export function HistoryView({ route }: { route: Route }) {
  const [a, b] = route.rest;
  return a && b ? <CompareRuns a={a} b={b} /> : <Runs route={route} />;
}

function Runs({ route }: { route: Route }) {
  const [runs, again] = useRuns();
  const [picked, setPicked] = useState<string[]>([]);
  const [changed, change] = useWork<string>();
  const words = route.query.get("q") ?? "";
  const state = route.query.get("state") ?? "";

  const remove = async (run: Benchmark) => {
    if (!confirm(`Remove the run of ${when(run.created)} (${run.id})? Its samples are lost.`)) return;
    await change(async (signal) => {
      await answer(client.DELETE("/benchmarks/{id}", { params: { path: { id: run.id } }, signal }));
      return `The run ${run.id} is removed.`;
    });
    setPicked((p) => p.filter((id) => id !== run.id));
    again();
  };
  const take = async (file: File) => {
    await change(async (signal) => {
      const run = await answer<Benchmark>(client.POST("/benchmarks/import", { ...raw(file), signal }));
      return `The run ${run.id} is there.`;
    });
    again();
  };

  return (
    <>
      <div class="controls">
        <label class="field">
          Filter
          <input type="search" value={words} placeholder="model, target, scenario …" onInput={(e) => setQuery({ q: e.currentTarget.value })} />
        </label>
        <Choice label="State" value={state} options={[{ value: "", text: "all" }, "running", "done", "failed", "cancelled", "interrupted"]} onChange={(s) => setQuery({ state: s })} />
        {picked.length === 2 ? <a class="button" href={href("history", picked)}>Compare the two</a> : <span class="soft">Tick two runs to compare them.</span>}
      </div>
      <Await load={runs} what="runs">
        {(all) => {
          const shown = all.filter((r) => matches(r, words, state));
          if (all.length === 0) return <p>No run is kept yet. <a href={href("benchmark")}>Start a benchmark</a>, or use <code>api bench</code>.</p>;
          return (
            <Table
              caption={`${shown.length} of ${all.length} runs, the newest first${all.length === listed ? "; older ones are not listed" : ""}`}
              columns={["run", "state", "scenario", "models", "targets", "compare", "file", "remove"]}
              rows={shown.map((r) => ({
                key: r.id,
                cells: [
                  <a href={href(r.state === "done" ? "scorecard" : "benchmark", [r.id])}>{when(r.created)}</a>,
                  <>{r.state} <Origin run={r} />{r.summary && !r.summary.valid && <span class="bad"> breaks a rule</span>}</>,
                  `${r.plan.scenario}${r.plan.rate ? ` at ${r.plan.rate}/s` : ""}`,
                  <span class="wrap">{r.plan.models.join(", ")}</span>,
                  <span class="wrap">{r.plan.targets.join(", ")}</span>,
                  r.state === "done" && (
                    <input
                      type="checkbox"
                      aria-label={`Compare the run of ${when(r.created)}, ${r.id}`}
                      checked={picked.includes(r.id)}
                      onChange={(e) => setPicked(e.currentTarget.checked ? [...picked, r.id].slice(-2) : picked.filter((id) => id !== r.id))}
                    />
                  ),
                  r.state === "done" && <a href={`/benchmarks/${encodeURIComponent(r.id)}/bundle`} download aria-label={`Bundle of ${r.id}`}>bundle</a>,
                  r.state !== "running" && <button type="button" class="small" aria-label={`Remove ${r.id}`} onClick={() => void remove(r)}>remove</button>,
                ],
              }))}
            />
          );
        }}
      </Await>
      <Await load={changed} what="the answer">{(text) => <p role="status">{text}</p>}</Await>
      <h2>Add a run from its bundle</h2>
      <TokenField purpose="add or remove a run" />
      <label class="field">
        <span>A file that <code>api bench --out</code> or the page of a server has made</span>
        <input
          type="file"
          accept=".gz,application/gzip"
          onChange={(e) => {
            const file = e.currentTarget.files?.[0];
            e.currentTarget.value = "";
            if (file) void take(file);
          }}
        />
      </label>
    </>
  );
}
