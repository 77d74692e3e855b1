import { useState } from "preact/hooks";

import { answer, client, type Comparison, type Model, raw, type Trouble, troubleOf } from "../../api/client";
import { Await } from "../../parts/Await";
import { Choice } from "../../parts/Choice";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { digits, percent } from "../../state/format";
import { useWork } from "../../state/load";
import { type Route } from "../../state/address";
import { setQuery } from "../../state/route";
import { sampleFile, samples } from "../../state/samples";
import { choices, listModels, useModels } from "../../state/service";
import { accuracies, type Compared, labelOf, pairsOf, type PairSummary } from "./collect";

const most = 500; // pictures of one collection

/** Target by target over a set of pictures: do they agree, and are they right? */
export function AgreementView({ route }: { route: Route }) {
  const model = route.query.get("model") ?? "";
  return <Collection key={model} model={model} />;
}

function Collection({ model }: { model: string }) {
  const models = useModels();
  const [load, run, stop] = useWork<{ done: Compared[]; failed: { name: string; trouble: Trouble }[] }>();
  const [at, setAt] = useState<{ done: number; total: number }>();

  const compare = (gather: (signal: AbortSignal) => Promise<{ file: File; path: string; label?: string }[]>) =>
    run(async (signal) => {
      const files = await gather(signal);
      const done: Compared[] = [];
      const failed: { name: string; trouble: Trouble }[] = [];
      const list = await listModels(signal);
      const name = model || list.default;
      const labels = name ? ((await answer<Model>(client.GET("/models/{name}", { params: { path: { name } }, signal }))).labels ?? []) : [];
      for (const [i, { file, path, label }] of files.entries()) {
        setAt({ done: i, total: files.length });
        try {
          const query = { ...(model ? { model } : {}) };
          const result = await answer<Comparison>(client.POST("/compare", { params: { query }, ...raw(file), signal }));
          const truth = label !== undefined && labels.includes(label) ? label : labelOf(path, labels);
          done.push({ name: path, result, ...(truth === undefined ? {} : { label: truth }) });
        } catch (err) {
          signal.throwIfAborted();
          failed.push({ name: path, trouble: troubleOf(err) });
        }
      }
      setAt(undefined);
      return { done, failed };
    });
  const chosen = (list: FileList | null) => {
    const files = [...(list ?? [])].slice(0, most).map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    if (files.length) void compare(async () => files);
  };

  return (
    <>
      <p class="lead">Every target classifies every picture. Two fp32 targets agree where their logits differ by at most a thousandth of the largest and the signal-to-noise ratio is 80 dB or more; where one computes in less, where both name the same class first.</p>
      <div class="controls">
        <Await load={models} what="models">{(list) => <Choice label="Model" value={model || (list.default ?? "")} options={choices(list)} onChange={(m) => setQuery({ model: m })} />}</Await>
        <button type="button" class="primary" onClick={() => void compare((signal) => Promise.all(samples.map(async (s) => ({ file: await sampleFile(s, signal), path: s.file, ...(s.label ? { label: s.label } : {}) }))))}>Compare the samples</button>
        <label class="field">
          Pictures
          <input type="file" accept="image/*" multiple onChange={(e) => (chosen(e.currentTarget.files), (e.currentTarget.value = ""))} />
        </label>
        <label class="field">
          A folder with a folder for each class
          <input type="file" ref={(el) => el?.setAttribute("webkitdirectory", "")} onChange={(e) => (chosen(e.currentTarget.files), (e.currentTarget.value = ""))} />
        </label>
      </div>
      <p class="soft">Up to {most} pictures. Where a picture's folder is named like a class of the model, its accuracy is counted too. They go to this server only and are not kept.</p>
      {load.state === "loading" && at && (
        <>
          <label class="progress"><span>{at.done} of {at.total} pictures</span><progress value={at.done} max={at.total} /></label>
          <p><button type="button" onClick={stop}>Stop</button></p>
        </>
      )}
      {load.state === "error" && <Problem trouble={load.trouble} />}
      {load.state === "ok" && <Results {...load.value} />}
    </>
  );
}

function Results({ done, failed }: { done: Compared[]; failed: { name: string; trouble: Trouble }[] }) {
  const pairs = pairsOf(done);
  const targets = [...new Set(pairs.flatMap((p) => [p.a, p.b]))];
  const accuracy = accuracies(done);
  return (
    <>
      <p role="status">{done.length} {done.length === 1 ? "picture" : "pictures"} compared on {done[0]?.result.model ?? "the model"}{failed.length > 0 && `, ${failed.length} could not be`}.</p>
      {failed.length > 0 && (
        <details open={done.length === 0}>
          <summary>Which could not be compared</summary>
          <ul>{failed.map((f) => <li key={f.name}><code>{f.name}</code>: {f.trouble.title}. {f.trouble.detail}</li>)}</ul>
        </details>
      )}
      {targets.length > 1 && (
        <>
          <HeatMap caption="Smallest signal-to-noise ratio of the logits in dB, target against target" targets={targets} pairs={pairs} value={(p) => p.worst_snr_db} show={(v) => v.toFixed(0)} shade={(v) => Math.max(0, Math.min(1, v / 140))} />
          <HeatMap caption="Share of pictures with the same class first, in per cent" targets={targets} pairs={pairs} value={(p) => p.top1.share} show={(v) => (100 * v).toFixed(1)} shade={(v) => Math.max(0, (v - 0.5) * 2)} />
          <Table
            caption="Pairs over all pictures; the shares have Wilson 95 % intervals"
            columns={["pair", num("same class first"), num("agree"), num("worst max |Δ| of max |logit|"), num("worst SNR"), "worst picture"]}
            rows={pairs.map((p) => ({
              key: `${p.a} ${p.b}`,
              cells: [`${p.a} / ${p.b}`, `${percent(p.top1.share)} [${percent(p.top1.low)} ${percent(p.top1.high)}]`, `${p.agreeing} of ${p.count}`, digits(p.worst_relative, 2), `${p.worst_snr_db.toFixed(1)} dB`, <code>{p.worst_name}</code>],
            }))}
          />
        </>
      )}
      {done.length > 0 && targets.length < 2 && <p>There is no second target here to compare with.</p>}
      {accuracy.length > 0 && (
        <Table
          caption={`Accuracy on the ${accuracy[0]?.count} ${accuracy[0]?.count === 1 ? "picture" : "pictures"} whose class is known, with Wilson 95 % intervals`}
          columns={["target", num("top-1"), num("top-5"), "wrong"]}
          rows={accuracy.map((a) => ({
            key: a.target,
            cells: [
              a.target,
              `${percent(a.top1.share)} [${percent(a.top1.low)} ${percent(a.top1.high)}]`,
              `${percent(a.top5.share)} [${percent(a.top5.low)} ${percent(a.top5.high)}]`,
              <span class="wrap">{a.wrong.slice(0, 20).map((w) => `${w.name}: ${w.said}`).join("; ")}{a.wrong.length > 20 && ` and ${a.wrong.length - 20} more`}</span>,
            ],
          }))}
        />
      )}
    </>
  );
}

/** Targets by targets. The shade is of the value; the number stands in it. */
function HeatMap({ caption, targets, pairs, value, show, shade }: {
  caption: string;
  targets: string[];
  pairs: PairSummary[];
  value: (p: PairSummary) => number;
  show: (v: number) => string;
  shade: (v: number) => number;
}) {
  const find = (a: string, b: string) => pairs.find((p) => (p.a === a && p.b === b) || (p.a === b && p.b === a));
  return (
    <Table
      caption={caption}
      columns={["target", ...targets.map((t) => num(t))]}
      rows={targets.map((a) => ({
        key: a,
        cells: [
          a,
          ...targets.map((b) => {
            if (a === b) return <span class="soft">–</span>;
            const p = find(a, b);
            if (!p) return <span class="soft">none</span>;
            const v = value(p);
            return <span class="heat" style={{ "--heat": `${Math.round(100 * shade(v))}%` }}>{show(v)}</span>;
          }),
        ],
      }))}
    />
  );
}
