import type { Interval } from "../api/client";
import { interval, tickText } from "../state/format";
import { useWidth } from "./width";
import { colourOf, markerPath, stepOf, ticks } from "./series";

export interface Dot {
  name: string;
  /** Undefined where it could not be measured. */
  value: Interval | undefined;
  /** Drawn hollow: the figure does not count. */
  invalid?: boolean;
}

const rowHeight = 30;

/** Estimates with their intervals on one scale. A line stands at mark. */
export function DotPlot({ caption, unit, dots, mark, zero }: { caption: string; unit: string; dots: Dot[]; mark?: number; zero?: boolean }) {
  const [ref, width] = useWidth();
  const values = dots.flatMap((d) => (d.value ? [d.value.value, d.value.low ?? d.value.value, d.value.high ?? d.value.value] : []));
  if (mark !== undefined) values.push(mark);
  if (values.length === 0) return null;
  let low = Math.min(...values), high = Math.max(...values);
  if (zero) low = Math.min(low, 0);
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [zero && low === 0 ? 0 : low - room, high + room];
  const longest = Math.max(...dots.map((d) => d.name.length));
  const left = Math.min(Math.max(7 * longest + 16, 60), width * 0.42);
  const x = (v: number) => left + ((v - low) / (high - low)) * (width - left - 16);
  const height = dots.length * rowHeight + 34;
  const at = ticks(low, high, Math.max(3, Math.floor((width - left) / 90)));
  const step = stepOf(at);
  const text = `${caption}. ${dots.map((d) => `${d.name}: ${d.value ? interval(d.value) : "not measured"}`).join("; ")}.`;
  return (
    <figure ref={ref} class="chart">
      <figcaption>{caption}</figcaption>
      <svg width={width} height={height} role="img" aria-label={text}>
        {at.map((t) => (
          <g key={t}>
            <line class="grid" x1={x(t)} x2={x(t)} y1={0} y2={height - 30} />
            <text class="tick" x={x(t)} y={height - 16} text-anchor="middle">{tickText(t, step)}</text>
          </g>
        ))}
        <text class="tick" x={width - 4} y={height - 2} text-anchor="end">{unit}</text>
        {mark !== undefined && <line class="mark" x1={x(mark)} x2={x(mark)} y1={0} y2={height - 30} />}
        {dots.map((d, i) => {
          const y = i * rowHeight + rowHeight / 2;
          const colour = `var(${colourOf(i)})`;
          return (
            <g key={d.name}>
              <text class="row" x={left - 10} y={y + 4} text-anchor="end">
                {d.name.length * 7 > left - 10 ? `${d.name.slice(0, Math.floor((left - 18) / 7))}…` : d.name}
                <title>{d.name}</title>
              </text>
              {d.value && (
                <>
                  {d.value.low !== undefined && d.value.high !== undefined && (
                    <path class="whisker" style={{ stroke: colour }} d={`M ${x(d.value.low)} ${y} H ${x(d.value.high)} M ${x(d.value.low)} ${y - 5} v 10 M ${x(d.value.high)} ${y - 5} v 10`} />
                  )}
                  <path d={markerPath(i, 5)} transform={`translate(${x(d.value.value)} ${y})`} style={d.invalid ? { fill: "var(--page)", stroke: colour, strokeWidth: 2 } : { fill: colour }}>
                    <title>{`${d.name}: ${interval(d.value)} ${unit}`}</title>
                  </path>
                </>
              )}
              {!d.value && <text class="tick" x={left} y={y + 4}>not measured</text>}
            </g>
          );
        })}
      </svg>
    </figure>
  );
}
