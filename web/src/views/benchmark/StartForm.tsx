import { useState } from "preact/hooks";

import { answer, type Benchmark, client } from "../../api/client";
import { Await } from "../../parts/Await";
import { Choice, NumberField, Tick } from "../../parts/Choice";
import { TargetTicks } from "../../parts/TargetTicks";
import { TokenField } from "../../parts/Token";
import { useWork } from "../../state/load";
import { href, type Route } from "../../state/address";
import { choices, useModels, useRuns } from "../../state/service";

type Scenario = "single-stream" | "server" | "offline";

const scenarios: { value: Scenario; text: string }[] = [
  { value: "single-stream", text: "single-stream: one query after another" },
  { value: "server", text: "server: queries at random times" },
  { value: "offline", text: "offline: batches" },
];

/** What is to be measured, and how. */
export function StartForm({ route }: { route: Route }) {
  const models = useModels();
  const [runs] = useRuns();
  const [started, start] = useWork<Benchmark>();
  const asked = route.query.get("model");
  const [chosenModels, setModels] = useState<string[] | undefined>(asked ? [asked] : undefined);
  const [chosenTargets, setTargets] = useState<string[]>();
  const [scenario, setScenario] = useState<Scenario>("single-stream");
  const [threads, setThreads] = useState(0);
  const [rate, setRate] = useState(20);
  const [bound, setBound] = useState(100);
  const [batch, setBatch] = useState(8);
  const [seconds, setSeconds] = useState(5);
  const [blocks, setBlocks] = useState(20);
  const running = runs.state === "ok" ? runs.value.find((r) => r.state === "running") : undefined;

  const submit = async () => {
    const query = {
      ...(chosenModels ? { models: chosenModels } : {}),
      ...(chosenTargets ? { targets: chosenTargets } : {}),
      scenario,
      ...(threads > 0 ? { threads } : {}),
      ...(scenario === "server" ? { rate, bound_ms: bound } : {}),
      ...(scenario === "offline" ? { batch } : {}),
      min_duration_ms: 1000 * seconds,
      // p99 needs 368 samples for its interval, p90 35; a block may have 100.
      min_count: Math.min(scenario === "server" ? 400 : 100, 100 * blocks),
      blocks,
    };
    const run = await start((signal) => answer<Benchmark>(client.POST("/benchmarks", { params: { query }, signal })));
    if (run) location.hash = href("benchmark", [run.id]);
  };

  return (
    <>
      <p class="lead">Every target has its turn in every block, in an order that is drawn anew, so that drift and other load meet all of them alike.</p>
      {running && <p class="note">A benchmark is running. <a href={href("benchmark", [running.id])}>Watch it</a></p>}
      <TokenField purpose="start a benchmark" />
      <form
        class="panel"
        onSubmit={(e) => {
          e.preventDefault();
          void submit();
        }}
      >
        <fieldset>
          <legend>Models</legend>
          <Await load={models} what="models">
            {(list) => {
              const chosen = chosenModels ?? (list.default ? [list.default] : []);
              return choices(list).map((m) => (
                <Tick key={m} checked={chosen.includes(m)} onChange={(on) => setModels(on ? [...chosen, m] : chosen.filter((c) => c !== m))}>
                  {m}{m.startsWith("random:") && " (untrained, for timing)"}
                </Tick>
              ));
            }}
          </Await>
        </fieldset>
        <fieldset>
          <legend>Targets, the first ticked is the one that others are related to</legend>
          <TargetTicks chosen={chosenTargets} first="reference" onChange={setTargets} />
        </fieldset>
        <div class="controls">
          <Choice label="Scenario" value={scenario} options={scenarios} onChange={(s) => setScenario(s as Scenario)} />
          <NumberField label="Threads (0: the server's)" value={threads} min={0} max={4096} onChange={setThreads} />
          {scenario === "server" && <NumberField label="Queries a second" value={rate} min={0.1} step="any" onChange={setRate} />}
          {scenario === "server" && <NumberField label="p99 is to stay under, ms" value={bound} min={0.1} step="any" onChange={setBound} />}
          {scenario === "offline" && <NumberField label="Images of a batch" value={batch} min={1} max={1024} onChange={setBatch} />}
          <NumberField label="Seconds for each target" value={seconds} min={0.1} max={3600} step="any" onChange={setSeconds} />
          <NumberField label="Blocks" value={blocks} min={1} max={1000} onChange={setBlocks} />
        </div>
        <p class="controls">
          <button class="primary" disabled={started.state === "loading" || chosenModels?.length === 0 || chosenTargets?.length === 0}>Start the benchmark</button>
          <span class="soft">It takes all CPU threads of the server for a block at a time. Requests meanwhile mark it as disturbed, also those of this page's other views.</span>
        </p>
      </form>
      <Await load={started} what="the run">{() => null}</Await>
    </>
  );
}
