import { useEffect, useRef, useState } from "preact/hooks";

import { answer, client, type Comparison, isAborted, raw, type Trouble, troubleOf } from "../../api/client";
import { closely } from "../../device/agreement";
import { Await } from "../../parts/Await";
import { Choice, Tick } from "../../parts/Choice";
import { Problem } from "../../parts/Problem";
import { type Route } from "../../state/address";
import { setQuery } from "../../state/route";
import { useWork } from "../../state/load";
import { sampleFile, samples } from "../../state/samples";
import { choices, useModels } from "../../state/service";
import { Camera } from "./Camera";
import { Preview } from "./Preview";
import { Result } from "./Result";

/** A photograph goes to POST /compare; every target answers. */
export function TryView({ route }: { route: Route }) {
  const models = useModels();
  const [file, setFile] = useState<File>();
  const [trouble, setTrouble] = useState<Trouble>();
  const [slow, setSlow] = useState(false);
  const [camera, setCamera] = useState(false);
  const [over, setOver] = useState(false);
  const [load, run] = useWork<Comparison>();
  const model = route.query.get("model") ?? "";
  const layers = route.query.has("layers");
  const repeat = route.query.has("repeat");
  const sample = route.query.get("sample") ?? "";

  const take = (f: File | null | undefined) => {
    if (!f) return;
    setQuery({ sample: "" });
    setFile(f);
  };
  const choose = useRef(take);
  choose.current = take;

  useEffect(() => {
    setTrouble(undefined);
    if (!sample) return;
    const found = samples.find((s) => s.name === sample);
    if (!found) return setTrouble({ title: "Unknown sample", detail: `There is no sample "${sample}"; there are ${samples.map((s) => s.name).join(", ")}.` });
    const stop = new AbortController();
    sampleFile(found, stop.signal).then(setFile, (err: unknown) => !isAborted(err) && setTrouble(troubleOf(err)));
    return () => stop.abort();
  }, [sample]);

  useEffect(() => {
    if (!file) return;
    const query = { ...(model ? { model } : {}), ...(layers ? { layers: true } : {}), ...(repeat ? { repeat: 20 } : {}) };
    void run((signal) => answer<Comparison>(client.POST("/compare", { params: { query }, ...raw(file), signal })));
  }, [file, model, layers, repeat]);

  const waiting = load.state === "loading";
  useEffect(() => {
    setSlow(false);
    if (!waiting) return;
    const timer = setTimeout(() => setSlow(true), 3000);
    return () => clearTimeout(timer);
  }, [waiting]);

  useEffect(() => {
    const paste = (e: ClipboardEvent) => {
      const pasted = [...(e.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
      if (pasted) choose.current(pasted);
    };
    // A file that misses the zone must not replace the page.
    const stop = (e: DragEvent) => e.preventDefault();
    document.addEventListener("paste", paste);
    addEventListener("dragover", stop);
    addEventListener("drop", stop);
    return () => {
      document.removeEventListener("paste", paste);
      removeEventListener("dragover", stop);
      removeEventListener("drop", stop);
    };
  }, []);

  return (
    <>
      <p class="lead">One photograph, one model, every runtime of this server: each answers, and the page shows how closely they agree.</p>
      <div
        class={over ? "drop over" : "drop"}
        onDragEnter={() => setOver(true)}
        onDragOver={(e) => e.preventDefault()}
        onDragLeave={() => setOver(false)}
        onDrop={(e) => {
          e.preventDefault();
          setOver(false);
          take(e.dataTransfer?.files[0]);
        }}
      >
        <label class="drop-zone">
          <input
            type="file"
            accept="image/*"
            onChange={(e) => {
              take(e.currentTarget.files?.[0]);
              e.currentTarget.value = ""; // so that the same file can be chosen again
            }}
          />
          <span class="drop-title">Drop a photograph here</span>
          <span class="soft">choose a file, or paste one. JPEG, PNG, GIF, BMP, TIFF, WebP. It goes to this server only and is not kept.</span>
        </label>
        <div class="picks">
          {samples.map((s) => (
            <button key={s.name} type="button" class="pick" aria-pressed={sample === s.name} onClick={() => setQuery({ sample: s.name })}>
              <img src={s.file} alt={s.alt} width="56" height="56" />
              <span>{s.name}</span>
            </button>
          ))}
          <button type="button" onClick={() => setCamera(true)}>Camera</button>
        </div>
      </div>
      {camera && <Camera onPicture={(f) => (setCamera(false), take(f))} onClose={() => setCamera(false)} />}
      <div class="controls">
        <Await load={models} what="models">
          {(list) => <Choice label="Model" value={model || (list.default ?? "")} options={choices(list).map((n) => ({ value: n, text: n.startsWith("random:") ? `${n} (untrained)` : n }))} onChange={(m) => setQuery({ model: m })} />}
        </Await>
        <Tick checked={repeat} onChange={(on) => setQuery({ repeat: on ? "20" : "" })}>time 20 runs each</Tick>
        <Tick checked={layers} onChange={(on) => setQuery({ layers: on ? "1" : "" })}>layer by layer</Tick>
      </div>
      <p class="soft" role="status">
        {waiting && `Running on every target …${slow ? " A target that is opened for the first time takes a while, and a benchmark in progress lets requests in between its blocks only." : ""}`}
        {load.state === "ok" && summary(load.value)}
      </p>
      {trouble && <Problem trouble={trouble} />}
      {file && (load.state === "ok" || load.state === "loading") && <Preview file={file} image={load.state === "ok" ? load.value.image : undefined} />}
      {load.state !== "loading" && <Await load={load} what="answers">{(r) => <Result result={r} />}</Await>}
    </>
  );
}

function summary(r: Comparison): string {
  const ran = r.targets.filter((t) => !t.problem).length;
  const all = r.targets.length;
  const differing = r.pairs.filter((p) => !p.agrees).length;
  const close = r.pairs.filter(closely).length;
  const verdict =
    r.pairs.length === 0 ? ""
    : differing > 0 ? ` ${differing} of ${r.pairs.length} pairs differ.`
    : close === r.pairs.length ? ` All ${ran} agree.`
    : ` All ${ran} agree: ${close} pairs to the fp32 tolerance, ${r.pairs.length - close} with lower precision in the class that they name first.`;
  return `${ran} of ${all} ${all === 1 ? "target" : "targets"} answered.${verdict}`;
}
