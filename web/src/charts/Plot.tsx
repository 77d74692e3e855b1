import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { useStore } from "../state/store";
import { colours } from "../theme";
import { colourOf, dashOf } from "./series";
import { useWidth } from "./width";

export interface Line {
  name: string;
  /** Which series' colour and dashes it has. */
  series: number;
  style: "line" | "step" | "points";
  /** Markers on a line. */
  points?: boolean;
  /** Thin and grey: something to hold the others against. */
  aside?: boolean;
  /** A bound of the interval of the line before: low, then high. What lies between the two is shaded. */
  bound?: "low" | "high";
}

export interface PlotSpec {
  /** What the chart shows, in one sentence: its text for those who do not see it. */
  caption: string;
  x: { label: string; log?: boolean };
  y: { label: string; log?: boolean; range?: [number, number] };
  lines: Line[];
}

const height = 300;

/** The colour that a CSS variable stands for now. */
function resolve(variable: string, at: HTMLElement): string {
  const probe = at.appendChild(document.createElement("span"));
  probe.style.color = `var(${variable})`;
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** A colour as the browser computes it, a fifth as strong. */
const faint = (colour: string) => colour.replace(/^rgb\(([^)]*)\)$/, (_, parts: string) => `rgba(${parts}, 0.2)`);

/** uPlot's options for a chart. */
export function plotOptions(spec: PlotSpec, width: number, colour: (variable: string) => string): uPlot.Options {
  const step = uPlot.paths.stepped?.({ align: 1 });
  const points = uPlot.paths.points?.();
  const axis = (label: string): uPlot.Axis => ({
    label,
    stroke: colour("--text"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: "12px system-ui",
    labelFont: "13px system-ui",
  });
  // A band lies between two series, the upper one first; series 0 is x.
  const bands = spec.lines.flatMap((l, i): uPlot.Band[] => (l.bound === "high" ? [{ series: [i + 1, i], fill: faint(colour(colourOf(l.series))) }] : []));
  return {
    bands,
    width,
    height,
    legend: { live: true },
    cursor: { drag: { x: true, y: false } },
    scales: {
      x: { time: false, ...(spec.x.log ? { distr: 3 as const } : {}) },
      y: { ...(spec.y.log ? { distr: 3 as const } : {}), ...(spec.y.range ? { range: spec.y.range } : {}) },
    },
    axes: [axis(spec.x.label), { ...axis(spec.y.label), size: 60 }],
    series: [
      { label: spec.x.label },
      ...spec.lines.map((l): uPlot.Series => {
        if (l.bound) return { label: `${l.name}, ${l.bound}`, width: 0, points: { show: false }, spanGaps: true, stroke: "transparent" };
        const stroke = colour(l.aside ? "--soft" : colourOf(l.series));
        return {
          label: l.name,
          stroke,
          width: l.aside ? 1 : 2,
          dash: l.aside ? [2, 4] : dashOf(l.series),
          spanGaps: true,
          points: { show: l.style === "points" || (l.points ?? false), size: 7, fill: stroke },
          ...(l.style === "step" && step ? { paths: step } : {}),
          ...(l.style === "points" && points ? { paths: points } : {}),
        };
      }),
    ],
  };
}

/** A chart on a canvas. data[0] is x, the others are the lines' y; null is a gap. */
export function Plot({ spec, data }: { spec: PlotSpec; data: uPlot.AlignedData }) {
  const [ref, width] = useWidth();
  const box = useRef<HTMLDivElement>(null);
  const turn = useStore(colours);
  const plot = useRef<uPlot | undefined>(undefined);
  const form = JSON.stringify(spec);
  useEffect(() => {
    const at = box.current;
    if (!at) return;
    plot.current = new uPlot(plotOptions(spec, width, (v) => resolve(v, at)), data, at);
    return () => {
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [form, width, turn]);
  useEffect(() => plot.current?.setData(data), [data]);
  return (
    <figure ref={ref} class="chart">
      <figcaption>{spec.caption}</figcaption>
      <div ref={box} role="img" aria-label={spec.caption} />
    </figure>
  );
}
