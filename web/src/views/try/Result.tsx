import type { Comparison, TargetResult } from "../../api/client";
import { DotPlot } from "../../charts/DotPlot";
import { Marker } from "../../charts/Marker";
import { PairTable } from "../../parts/PairTable";
import { Problem } from "../../parts/Problem";
import { Facts } from "../../parts/Table";
import { digits, ms, percent } from "../../state/format";
import { href } from "../../state/address";
import { LayerDivergence } from "./LayerDivergence";
import { Stages } from "./Stages";

/** What each target says of the photograph, and how they agree. */
export function Result({ result }: { result: Comparison }) {
  const timed = result.targets.flatMap((t) => (t.repeat ? [{ name: t.target, repeat: t.repeat }] : []));
  return (
    <>
      <h2>What each target says</h2>
      <p class="soft">
        Model <a href={href("models", [result.model])}>{result.model}</a>
        {result.untrained && " (untrained: its classes mean nothing)"}, hash <code>{result.model_hash.slice(0, 12)}</code>.
      </p>
      <div class="cards">{result.targets.map((t, i) => <Card key={t.target} target={t} i={i} />)}</div>
      <h2>How they agree</h2>
      {result.pairs.length ? <PairTable pairs={result.pairs} /> : <p>There is no second target here to compare with. <a href={href("backends")}>Which targets are there?</a></p>}
      <h2>Where the time went</h2>
      <Stages result={result} />
      {timed.length > 0 && (
        <>
          <DotPlot
            caption={`Median inference of ${timed[0]?.repeat.runs} interleaved runs, with 95 % intervals`}
            unit="ms"
            dots={timed.map(({ name, repeat: q }) => ({ name, value: { value: q.median_ms, low: q.median_low_ms, high: q.median_high_ms } }))}
            zero
          />
          <p class="soft">
            {timed.slice(1).map(({ name, repeat: q }) => `${name} takes ${digits(q.ratio)} [${digits(q.ratio_low)} ${digits(q.ratio_high)}] times as long as ${timed[0]?.name}. `)}
            A <a href={href("benchmark")}>benchmark</a> measures for longer and by stricter rules.
          </p>
        </>
      )}
      {result.layers && <LayerDivergence layers={result.layers} />}
    </>
  );
}

function Card({ target: t, i }: { target: TargetResult; i: number }) {
  return (
    <article class="card">
      <h3><Marker i={i} /> {t.target}</h3>
      {t.problem && <Problem trouble={t.problem} />}
      {t.predictions && (
        <ol class="classes">
          {t.predictions.map((p) => (
            <li key={p.index}>
              <span class="name" title={p.label}>{p.label}</span>
              <span>{percent(p.probability)}</span>
              <span class="track" aria-hidden="true"><span class="fill" style={{ width: `${100 * p.probability}%` }} /></span>
            </li>
          ))}
        </ol>
      )}
      {t.timing && <Facts pairs={[["inference", ms(t.timing.inference_ms)], ["queue", ms(t.timing.queue_ms)]]} />}
    </article>
  );
}
