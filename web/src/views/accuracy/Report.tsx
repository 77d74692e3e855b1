import type { ComponentChildren } from "preact";

import type { EvaluationReport, PreprocessReport, Proportion } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { Problem } from "../../parts/Problem";
import { num, Table } from "../../parts/Table";
import { digits } from "../../state/format";
import { difference, dots, equalInputs, ignored, share, verdict } from "./figures";
import { Gallery } from "./Gallery";

/** What an evaluation found. */
export function Report({ id, report: r }: { id: string; report: EvaluationReport }) {
  const closed = r.targets.filter((t) => t.error !== undefined);
  const several = r.preprocess.length > 1;
  return (
    <>
      {r.untrained && <p class="note">The weights are untrained, so the labels mean nothing.</p>}
      <p role="status">{r.evaluated} of {r.images} images evaluated on {r.classes} classes{r.ignored_files > 0 && `; ${ignored(r.ignored_files)}`}.</p>
      {closed.map((t) => <Problem key={t.target} trouble={{ title: `${t.target} could not be opened`, ...(t.error ? { detail: t.error } : {}) }} />)}
      <DotPlot caption="Top-1 accuracy with its Wilson 95 % interval" unit="% of the images" dots={dots(r.preprocess)} />
      <Table
        wraps
        caption={`Accuracy with Wilson 95 % intervals. The inference time is a median beside the decoding of other images${r.disturbances ? ` and beside ${r.disturbances} requests to this server` : ""}: no benchmark`}
        columns={[...(several ? ["preprocessing"] : []), "target", num("top-1"), num("top-5"), num("median inference, ms"), num("without result")]}
        rows={r.preprocess.flatMap((p) =>
          p.results.map((t) => ({ key: `${p.name} ${t.target}`, cells: [...(several ? [p.name] : []), t.target, <Share of={t.top1} />, <Share of={t.top5} />, digits(t.median_inference_ms), t.failures?.length ?? 0] })),
        )}
      />
      {several && <Axis all={r.preprocess} evaluated={r.evaluated} />}
      {r.preprocess.map((p) => p.pairs.length > 0 && <Pairs key={p.name} report={p} />)}
      {r.confusions.length > 0 && (
        <Table caption="The most frequent confusions of the first target" columns={["class", "named", num("images")]} rows={r.confusions.map((c) => ({ key: `${c.class} ${c.named}`, cells: [c.class, c.named, c.count] }))} />
      )}
      {r.failures.length > 0 && (
        <Table caption={`Not decoded: ${r.failures.length}; they do not count`} columns={["image", "reason"]} rows={r.failures.map((f) => ({ key: f.path, cells: [<span class="wrap">{f.path}</span>, <span class="wrap">{f.error}</span>] }))} />
      )}
      <Gallery id={id} report={r} />
    </>
  );
}

const Unit = ({ children }: { children: ComponentChildren }) => <span class="unit">{children}</span>;

/** A share that breaks before its count only. */
function Share({ of }: { of: Proportion }) {
  const [value, count] = share(of).split(", ");
  return <><Unit>{value},</Unit> <Unit>{count}</Unit></>;
}

/** What each preprocessing costs, image by image against the model's own. */
function Axis({ all, evaluated }: { all: PreprocessReport[]; evaluated: number }) {
  return (
    <Table
      wraps
      caption="Preprocessings against the model's own, in percentage points of top-1: paired differences with 95 % intervals after Agresti and Min"
      columns={["preprocessing", "target", num("difference"), num("gained"), num("lost"), "verdict", num("equal inputs")]}
      rows={all.flatMap((p) =>
        p.results.flatMap(({ target, difference_to_reference: d }) =>
          d ? [{ key: `${p.name} ${target}`, cells: [p.name, target, <Unit>{difference(d)}</Unit>, d.gained, d.lost, verdict(d, "better", "worse"), equalInputs(p, p === all[0], evaluated)] }] : [],
        ),
      )}
    />
  );
}

function Pairs({ report: p }: { report: PreprocessReport }) {
  const targets = p.results.map((r) => r.target);
  return (
    <>
      <Table
        wraps
        caption={`Agreement of the targets, ${p.name}: images with the same class first, within the tolerance of a comparison, and by how many points the second's top-1 is above the first's, paired`}
        columns={["targets", num("same class first"), num("agree"), num("worst SNR"), "on", num("top-1 difference"), "verdict"]}
        rows={p.pairs.map((g) => ({
          key: `${g.a} ${g.b}`,
          cells: [
            <><Unit>{g.a} /</Unit> <Unit>{g.b}</Unit></>, <Share of={g.top1_equal} />, g.agreeing, g.worst_image ? <Unit>{g.worst_snr_db.toFixed(1)} dB</Unit> : "none", <span class="wrap">{g.worst_image}</span>,
            <Unit>{difference(g.difference)}</Unit>, verdict(g.difference, `${g.b} is better`, `${g.b} is worse`),
          ],
        }))}
      />
      {p.differing.length > 0 && (
        <details>
          <summary>{p.differing.length} {p.differing.length === 1 ? "image" : "images"} on which the targets differ, {p.name}</summary>
          <Table
            wraps
            caption={`What each target names, ${p.name}`}
            columns={["image", "class", ...targets]}
            rows={p.differing.map((d) => ({ key: d.path, cells: [<span class="wrap">{d.path}</span>, d.class, ...d.named.map((n) => n || "no result")] }))}
          />
        </details>
      )}
    </>
  );
}
