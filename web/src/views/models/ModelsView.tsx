import { answer, client, type Model, type ModelList } from "../../api/client";
import { Await } from "../../parts/Await";
import { Facts, num, Table } from "../../parts/Table";
import { bytes, digits } from "../../state/format";
import { useLoad, useWork } from "../../state/load";
import { href, type Route } from "../../state/address";
import { choices, listModels, listTargets } from "../../state/service";
import { Upload } from "./Upload";

/** The models: list, inspect, upload, export, remove. */
export function ModelsView({ route }: { route: Route }) {
  const name = route.rest[0];
  return name ? <OneModel key={name} name={name} /> : <AllModels />;
}

function AllModels() {
  const [list, again] = useLoad(listModels, []);
  return (
    <>
      <Await load={list} what="models">
        {(l) => (
          <>
            <ModelTable list={l} />
            <p class="soft">
              Untrained models, for timing: {choices(l).filter((n) => n.startsWith("random:")).map((n, i) => <>{i > 0 && ", "}<a href={href("models", [n])}>{n}</a></>)}.
            </p>
          </>
        )}
      </Await>
      <Upload onDone={again} />
    </>
  );
}

function ModelTable({ list }: { list: ModelList }) {
  return (
    <Table
      caption="Models of this server"
      columns={["model", "state", "layout", num("input"), num("classes"), num("parameters"), num("MACs"), num("weights"), "open on"]}
      rows={list.models.map((m) => ({
        key: m.name || m.file || "",
        cells: [
          m.name ? <a class="name" href={href("models", [m.name])}>{m.name}</a> : <span class="name">{m.file}</span>,
          <>{m.state}{m.default && ", default"}{m.findings && <ul class="findings">{m.findings.map((f) => <li>{f}</li>)}</ul>}</>,
          m.config?.layout ?? "",
          m.config ? `${m.config.input_size} px` : "",
          m.classes ?? "",
          m.parameters?.toLocaleString("en") ?? "",
          m.macs ? `${digits(m.macs / 1e6)} M` : "",
          m.weight_bytes ? bytes(m.weight_bytes) : "",
          m.sessions?.map((s) => s.target).join(", ") ?? "",
        ],
      }))}
    />
  );
}

function OneModel({ name }: { name: string }) {
  const [load, again] = useLoad(
    async (signal) => {
      // A random: model is made when it is first asked for.
      for (;;) {
        const m = await answer<Model>(client.GET("/models/{name}", { params: { path: { name } }, signal }));
        if (m.state !== "loading") return m;
        await new Promise((resolve) => setTimeout(resolve, 200));
        signal.throwIfAborted();
      }
    },
    [name],
  );
  const [targets] = useLoad(listTargets, []);
  const [removed, remove] = useWork<string>();
  const exports = targets.state === "ok" ? ["onnx", "tflite"].filter((f) => targets.value.targets.some((t) => t.backend === f)) : [];
  const formats = ["safetensors", ...exports];
  return (
    <>
      <p><a href={href("models")}>All models</a></p>
      <Await load={load} what="the model">
        {(m) => (
          <>
            <h2 class="name">{m.name}</h2>
            {m.untrained && <p class="note">Untrained: random weights, for timing only. Its classes mean nothing.</p>}
            <Facts
              pairs={[
                ["state", m.state],
                ["hash", <code>{m.hash}</code>],
                ["file", m.file ?? "made by the program"],
                ["classes", m.classes ?? ""],
                ["parameters", m.parameters?.toLocaleString("en") ?? ""],
                ["multiply-adds of an image", m.macs?.toLocaleString("en") ?? ""],
                ["weights as float32", m.weight_bytes ? bytes(m.weight_bytes) : ""],
              ]}
            />
            {m.findings && <><h3>What keeps it from being used</h3><ul>{m.findings.map((f) => <li>{f}</li>)}</ul></>}
            {m.notes && <><h3>Notes</h3><ul>{m.notes.map((n) => <li>{n}</li>)}</ul></>}
            <p class="controls">
              <a class="button primary" href={href("try", [], { model: m.name })}>Try it</a>
              <a class="button" href={href("benchmark", [], { model: m.name })}>Benchmark it</a>
              <a class="button" href={href("device", [], { model: m.name })}>Run it on this device</a>
            </p>
            <h3>Export</h3>
            <p class="controls">
              {formats.map((f) => <a key={f} class="button" href={`/models/${encodeURIComponent(m.name)}/export?format=${f}`} download>{f}</a>)}
              <span class="soft">safetensors holds the weights, onnx and tflite the network too.</span>
            </p>
            {m.config && <Configuration config={m.config} />}
            {m.preprocess && (
              <>
                <h3>Preprocessing</h3>
                <Facts
                  pairs={[
                    ["input", `${m.preprocess.size} × ${m.preprocess.size} pixels`],
                    ["resize", m.preprocess.resize === "squash" ? "both sides to the input's" : `shorter side to ${Math.floor(m.preprocess.size / m.preprocess.crop_ratio)}, then the centre`],
                    ["filter", m.preprocess.filter],
                    ["mean", m.preprocess.mean.join(", ")],
                    ["std", m.preprocess.std.join(", ")],
                  ]}
                />
              </>
            )}
            {m.sessions && m.sessions.length > 0 && (
              <Table
                caption="Open sessions: what truly runs where"
                columns={["target", num("threads"), "provider", "nodes on it", "library", num("weights"), num("activations of a run"), num("worker process")]}
                rows={m.sessions.map((s) => ({
                  key: s.target,
                  cells: [s.target, s.threads, s.provider ?? "", s.nodes === undefined ? "" : `${s.delegated_nodes ?? 0} of ${s.nodes}`, s.library_version ?? "none", s.weight_bytes ? bytes(s.weight_bytes) : "", s.arena_bytes ? bytes(s.arena_bytes) : "", s.worker_pid ?? ""],
                }))}
              />
            )}
            {m.labels && (
              <details>
                <summary>{m.labels.length} labels</summary>
                <ol start={0} class="labels">{m.labels.map((l) => <li>{l}</li>)}</ol>
              </details>
            )}
            {m.file && (
              <p>
                <button
                  type="button"
                  onClick={() => {
                    if (!confirm(`Remove ${m.name}? Its file ${m.file} is deleted.`)) return;
                    void remove(async (signal) => {
                      await answer(client.DELETE("/models/{name}", { params: { path: { name } }, signal }));
                      return "The model is removed.";
                    }).then((done) => (done ? (location.hash = href("models")) : again()));
                  }}
                >
                  Remove the model
                </button>
              </p>
            )}
            <Await load={removed} what="the answer">{(text) => <p role="status">{text}</p>}</Await>
          </>
        )}
      </Await>
    </>
  );
}

function Configuration({ config: c }: { config: NonNullable<Model["config"]> }) {
  const rows: [string, number[]][] = [
    ["LGL blocks", c.depths],
    ["channels", c.dims],
    ["attention heads", c.heads],
    ["sampling rate", c.sample_rates],
    ["patch size", c.patch_sizes],
    ["MLP channels", c.mlp_hidden],
  ];
  return (
    <>
      <h3>Network</h3>
      <Table
        caption={`Stage by stage; layout ${c.layout}, input ${c.input_size} × ${c.input_size}`}
        columns={["setting", num("stage 1"), num("stage 2"), num("stage 3"), num("stage 4")]}
        rows={rows.map(([name, values]) => ({ key: name, cells: [name, ...values] }))}
      />
    </>
  );
}
