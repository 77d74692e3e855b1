import type { Layers } from "../../api/client";
import { Marker } from "../../charts/Marker";
import { colourOf, markerPath } from "../../charts/series";
import { useWidth } from "../../charts/width";
import { agreementCells, agreementColumns } from "../../parts/PairTable";
import { Problem } from "../../parts/Problem";
import { Table } from "../../parts/Table";
import { ms } from "../../state/format";
import { stages } from "./network";

type Target = Layers["targets"][number];
type Node = NonNullable<Target["nodes"]>[number];

const height = 260, top = 24, bottom = 30, left = 52;
const ceiling = 200; // dB; equal outputs have 300

/** How far every node of each target is from the reference's, in the order of execution. */
export function LayerDivergence({ layers }: { layers: Layers }) {
  const [ref, width] = useWidth();
  const shown = layers.targets.filter((t): t is Target & { nodes: Node[] } => (t.nodes?.length ?? 0) > 0);
  const names = shown[0]?.nodes.map((n) => n.node) ?? [];
  const values = shown.flatMap((t) => t.nodes.flatMap((n) => (n.agreement ? [Math.min(n.agreement.snr_db, ceiling)] : [])));
  const low = Math.min(0, ...values), high = Math.max(layers.threshold_db + 20, ...values);
  const x = (i: number) => left + ((i + 0.5) / Math.max(names.length, 1)) * (width - left - 8);
  const y = (db: number) => top + (1 - (Math.min(db, ceiling) - low) / (high - low)) * (height - top - bottom);
  const text = shown.map((t) => `${t.target}: ${verdict(t, layers.threshold_db)}`).join(". ");
  return (
    <>
      <h2>Layer by layer</h2>
      {layers.targets.length === 0 && <p>There is no second target here to compare with.</p>}
      {layers.targets.map((t) => t.problem && <div key={t.target}><h3>{t.target}</h3><Problem trouble={t.problem} /></div>)}
      {shown.length > 0 && (
        <figure ref={ref} class="chart">
          <figcaption>
            Signal-to-noise ratio of every node's output against {layers.reference}, through the network's stages. Under {layers.threshold_db} dB a node diverges.
          </figcaption>
          <svg width={width} height={height} role="img" aria-label={`Signal-to-noise ratio by node. ${text}`}>
            {stages(names).map((s, i) => (
              <g key={i}>
                <rect class={i % 2 ? "band odd" : "band"} x={x(s.from - 0.5)} width={Math.max(x(s.to - 0.5) - x(s.from - 0.5), 1)} y={top} height={height - top - bottom} />
                {x(s.to - 0.5) - x(s.from - 0.5) > 46 && <text class="tick" x={(x(s.from - 0.5) + x(s.to - 0.5)) / 2} y={16} text-anchor="middle">{s.name}</text>}
              </g>
            ))}
            {[0, 40, 80, 120, 160, 200].filter((t) => t >= low && t <= high).map((t) => (
              <g key={t}>
                <line class="grid" x1={left} x2={width - 8} y1={y(t)} y2={y(t)} />
                <text class="tick" x={left - 6} y={y(t) + 4} text-anchor="end">{t} dB</text>
              </g>
            ))}
            <line class="mark" x1={left} x2={width - 8} y1={y(layers.threshold_db)} y2={y(layers.threshold_db)} />
            {shown.map((t, s) => (
              <g key={t.target} style={{ fill: `var(${colourOf(s + 1)})` }}>
                {t.nodes.map((n, i) =>
                  n.agreement ? (
                    <path key={n.node} d={markerPath(s + 1, n.node === t.first_diverging ? 7 : 3.2)} transform={`translate(${x(i)} ${y(n.agreement.snr_db)})`}>
                      <title>{`${n.node} (${n.kind}): ${n.agreement.snr_db.toFixed(1)} dB on ${t.target}`}</title>
                    </path>
                  ) : null,
                )}
              </g>
            ))}
            <text class="tick" x={width - 8} y={height - 8} text-anchor="end">nodes in the order of execution →</text>
          </svg>
          <p class="legend">{shown.map((t, s) => <span key={t.target}><Marker i={s + 1} /> {t.target}: {verdict(t, layers.threshold_db)}</span>)}</p>
        </figure>
      )}
      {shown.map((t) => (
        <details key={t.target}>
          <summary>Nodes of {t.target}</summary>
          <Table
            caption={`${t.target} against ${layers.reference}; ${verdict(t, layers.threshold_db)}`}
            columns={["node", "operation", "shape", ...agreementColumns, { name: `${layers.reference}, time`, number: true }, { name: `${t.target}, time`, number: true }]}
            rows={t.nodes.map((n) => ({
              key: n.node,
              class: n.node === t.first_diverging ? "diverges" : undefined,
              cells: [
                <code>{n.node}</code>,
                n.kind,
                n.shape.join(" × "),
                ...(n.agreement ? agreementCells(n.agreement) : [`folded by ${n.folded?.join(", ")}`, "", "", ""]),
                n.reference_ms === undefined ? "" : ms(n.reference_ms),
                n.target_ms === undefined ? "" : ms(n.target_ms),
              ],
            }))}
          />
        </details>
      ))}
    </>
  );
}

const verdict = (t: Target, threshold: number) => (t.first_diverging ? `first node to diverge: ${t.first_diverging}` : `no node is under ${threshold} dB`);
