import type { ComponentChildren } from "preact";

import type { Benchmark } from "../api/client";
import { when } from "../state/format";
import { useLoad } from "../state/load";
import { href } from "../state/address";
import { getRun, useRuns } from "../state/service";
import { Await } from "./Await";
import { Choice } from "./Choice";

/** One line that tells a run from others. */
export const runName = (r: Benchmark) =>
  `${when(r.created)} · ${r.plan.models.join(", ")}${r.plan.peers?.length ? ` beside ${r.plan.peers.join(", ")}` : ""} · ${r.plan.scenario}${r.plan.rate ? ` at ${r.plan.rate}/s` : ""} · ${r.plan.targets.length} ${r.plan.targets.length === 1 ? "target" : "targets"}${r.origin === "browser" ? " · measured by a browser" : ""}`;

/** Says that a browser measured a run, wherever its figures stand. */
export function Origin({ run }: { run: Benchmark }) {
  return run.origin === "browser" ? <span class="tag">measured by a browser</span> : null;
}

/** Lets a view show one of the runs that are done, the newest where the address names none. */
export function RunPicker({ view, id, children }: { view: string; id: string | undefined; children: (run: Benchmark) => ComponentChildren }) {
  const [runs] = useRuns();
  return (
    <Await load={runs} what="runs">
      {(all) => {
        const done = all.filter((r) => r.state === "done");
        const shown = id ?? done[0]?.id;
        if (!shown) return <p>No run is kept yet. <a href={href("benchmark")}>Start a benchmark</a>, or use <code>api bench</code>.</p>;
        return (
          <>
            <div class="controls">
              <Choice
                label="Run"
                value={shown}
                options={[...(done.some((r) => r.id === shown) ? [] : [{ value: shown, text: shown }]), ...done.map((r) => ({ value: r.id, text: runName(r) }))]}
                onChange={(next) => (location.hash = href(view, [next]))}
              />
              <a href={href("scorecard", [shown])}>scorecard</a>
              <a href={href("latency", [shown])}>latency</a>
              <a href={href("resources", [shown])}>memory, start, energy</a>
            </div>
            <OneRun key={shown} id={shown}>{children}</OneRun>
          </>
        );
      }}
    </Await>
  );
}

function OneRun({ id, children }: { id: string; children: (run: Benchmark) => ComponentChildren }) {
  const [run] = useLoad((signal) => getRun(id, signal), [id]);
  return (
    <Await load={run} what="the run">
      {(r) => (r.summary ? <>{children(r)}</> : <p>This run is {r.state} and has no figures. <a href={href("benchmark", [r.id])}>Watch it</a></p>)}
    </Await>
  );
}
