import { useState } from "preact/hooks";

import { defaultThreads, type Runner, runners, unavailable } from "../../device/runners";
import { Await } from "../../parts/Await";
import { Choice, NumberField, Tick } from "../../parts/Choice";
import { Table } from "../../parts/Table";
import type { Route } from "../../state/address";
import { useLoad } from "../../state/load";
import { setQuery } from "../../state/route";
import { choices, useModels } from "../../state/service";
import { base } from "./check";
import { CheckSection } from "./CheckSection";
import { MeasureSection } from "./MeasureSection";

const what: Record<string, string> = {
  "ort-web": "ONNX Runtime, WebAssembly, one thread",
  "ort-web:threads": "ONNX Runtime, WebAssembly, several threads",
  "ort-web:webgpu": "ONNX Runtime on WebGPU",
  "litert-web": "LiteRT with XNNPACK, WebAssembly, one thread",
  "litert-web:threads": "LiteRT with XNNPACK, WebAssembly, several threads",
  "litert-web:webgpu": "LiteRT on WebGPU",
};

/** This browser as one more device: the same exported model, checked against purego and measured. */
export function DeviceView({ route }: { route: Route }) {
  const models = useModels();
  const [reasons] = useLoad(async () => new Map(await Promise.all(runners.map(async (r): Promise<[string, string | null]> => [r.id, await unavailable(r, base)]))), []);
  const [chosen, setChosen] = useState<string[]>();
  const [busy, setBusy] = useState(false);
  const [threads, setThreads] = useState(defaultThreads());
  const able = reasons.state === "ok" ? runners.filter((r) => reasons.value.get(r.id) === null) : [];
  // A GPU may be a program in disguise that takes minutes; it is ticked by hand.
  const picked = able.filter((r) => (chosen ?? able.filter((a) => a.device === "wasm").map((a) => a.id)).includes(r.id));
  const toggle = (r: Runner, on: boolean) => setChosen(on ? [...picked.map((p) => p.id), r.id] : picked.filter((p) => p !== r).map((p) => p.id));
  const asked = route.query.get("model") ?? "";
  return (
    <>
      <p class="lead">
        This browser runs the same exported model, in workers, on the same pixels as the server. Nothing is fetched before you ask for it; the runtimes come from this server and have 10 to 27 MB each.
      </p>
      <Await load={reasons} what="what this browser can do">
        {(map) => (
          <Table
            caption={`${able.length} of ${runners.length} ways to run a model are open to this browser`}
            columns={["use", "runtime", "why not"]}
            rows={runners.map((r) => {
              const reason = map.get(r.id);
              return {
                key: r.id,
                cells: [
                  <Tick checked={picked.includes(r)} disabled={reason !== null} onChange={(on) => toggle(r, on)}>{r.id}</Tick>,
                  what[r.id] ?? "",
                  <span class="long">{reason ?? ""}</span>,
                ],
              };
            })}
          />
        )}
      </Await>
      <Await load={models} what="models">
        {(list) => {
          const names = choices(list);
          const model = asked || (list.default ?? names[0] ?? "");
          return (
            <>
              <div class="controls">
                <Choice label="Model" value={model} options={names.map((n) => ({ value: n, text: n.startsWith("random:") ? `${n} (untrained)` : n, disabled: busy }))} onChange={(m) => setQuery({ model: m })} />
                <NumberField label="Threads, where there are several" value={threads} min={1} max={Math.max(navigator.hardwareConcurrency || 1, 1)} onChange={setThreads} />
              </div>
              <CheckSection key={`check ${model}`} model={model} runners={picked} threads={threads} busy={busy} onBusy={setBusy} />
              <MeasureSection key={`measure ${model}`} model={model} runners={picked} threads={threads} busy={busy} onBusy={setBusy} />
            </>
          );
        }}
      </Await>
    </>
  );
}
