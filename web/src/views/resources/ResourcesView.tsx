import type { Benchmark, BenchmarkSubject, Reading } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { RunPicker } from "../../parts/RunPicker";
import { num, Table } from "../../parts/Table";
import { bytes, digits, interval } from "../../state/format";
import type { Route } from "../../state/address";
import { groupsOf } from "../scorecard/groups";
import { RunFacts } from "../scorecard/ScorecardView";

/** What a target takes beside time: memory, its start, energy; each with its meter. */
export function ResourcesView({ route }: { route: Route }) {
  return <RunPicker view="resources" id={route.rest[0]}>{(run) => <Resources run={run} />}</RunPicker>;
}

/** What figures were read from, or why there are none. */
function Meters({ name, readings }: { name: string; readings: Reading[] }) {
  const all = [...new Set(readings.map((r) => r.missing ?? r.meter).filter(Boolean))];
  return all.length ? <p class="soft">{name}: {all.join("; ")}.</p> : null;
}

const measured = (r: Reading) => !r.missing;

function Resources({ run }: { run: Benchmark }) {
  const { summary } = run;
  if (!summary) return null;
  return (
    <>
      <RunFacts run={run} />
      {groupsOf(summary.subjects, run.plan.peers).map(({ title, subjects, name }) => {
        const dot = (s: BenchmarkSubject, r: Reading, scale: number) => ({ name: name(s), value: s.error || !measured(r) ? undefined : { value: r.value / scale }, invalid: !s.valid });
        return (
          <section key={title} aria-label={title}>
            <h2 class="name">{title}</h2>
            <DotPlot caption="Memory that opening and warm-up added" unit="MB" dots={subjects.map((s) => dot(s, s.resident_bytes, 1e6))} zero />
            <DotPlot caption="Start: from the model in memory to a session that is ready, the median of the openings" unit="ms" dots={subjects.map((s) => ({ name: name(s), value: s.error ? undefined : s.open_ms, invalid: !s.valid }))} zero />
            <DotPlot caption="Energy of an image" unit="mJ" dots={subjects.map((s) => dot(s, s.energy_j, 1e-3))} zero />
            <Table
              caption={`${title}: memory, start and energy`}
              columns={["target", num("memory"), num("start, ms"), num("energy, mJ an image"), "note"]}
              rows={subjects.map((s) => ({
                key: name(s),
                cells: s.error
                  ? [name(s), "", "", "", <span class="bad">could not run: {s.error}</span>]
                  : [
                      name(s),
                      measured(s.resident_bytes) ? bytes(s.resident_bytes.value) : "–",
                      s.open_ms ? interval(s.open_ms) : "–",
                      measured(s.energy_j) ? digits(1000 * s.energy_j.value) : "–",
                      "",
                    ],
              }))}
            />
            <Meters name="Memory" readings={subjects.map((s) => s.resident_bytes)} />
            <Meters name="Energy" readings={subjects.map((s) => s.energy_j)} />
          </section>
        );
      })}
    </>
  );
}
