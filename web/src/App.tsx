import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Boundary } from "./parts/Boundary";
import { href, type Route } from "./state/address";
import { route } from "./state/route";
import { useStore } from "./state/store";
import { setTheme, type Theme, theme } from "./theme";
import { AccuracyView } from "./views/accuracy/AccuracyView";
import { AgreementView } from "./views/agreement/AgreementView";
import { BackendsView } from "./views/backends/BackendsView";
import { BenchmarkView } from "./views/benchmark/BenchmarkView";
import { DeviceView } from "./views/device/DeviceView";
import { HistoryView } from "./views/history/HistoryView";
import { LatencyView } from "./views/latency/LatencyView";
import { ModelsView } from "./views/models/ModelsView";
import { ResourcesView } from "./views/resources/ResourcesView";
import { ScalingView } from "./views/scaling/ScalingView";
import { ScorecardView } from "./views/scorecard/ScorecardView";
import { TryView } from "./views/try/TryView";

const views: { name: string; title: string; component: ComponentType<{ route: Route }> }[] = [
  { name: "try", title: "Try it", component: TryView },
  { name: "benchmark", title: "Benchmark", component: BenchmarkView },
  { name: "scorecard", title: "Scorecard", component: ScorecardView },
  { name: "latency", title: "Latency", component: LatencyView },
  { name: "scaling", title: "Scaling", component: ScalingView },
  { name: "resources", title: "Memory, start, energy", component: ResourcesView },
  { name: "agreement", title: "Agreement", component: AgreementView },
  { name: "accuracy", title: "Accuracy", component: AccuracyView },
  { name: "history", title: "History", component: HistoryView },
  { name: "device", title: "This device", component: DeviceView },
  { name: "models", title: "Models", component: ModelsView },
  { name: "backends", title: "Backends", component: BackendsView },
];

export function App() {
  const here = useStore(route);
  const view = views.find((v) => v.name === here.view);
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${view?.title ?? "Not found"} · EdgeViT`;
    // A reader that follows a link is told where it has led.
    if (first.current) first.current = false;
    else heading.current?.focus();
  }, [view]);
  // On a narrow screen the views' names lie side by side, beyond its edge.
  useEffect(() => document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }), [view]);
  const View = view?.component;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), heading.current?.focus())}>Skip to the content</a>
      <header>
        <p class="brand"><a href={href("try")}>EdgeViT</a></p>
        <nav aria-label="Views">
          <ul>
            {views.map((v) => (
              <li key={v.name}><a href={href(v.name)} aria-current={v === view ? "page" : undefined}>{v.title}</a></li>
            ))}
          </ul>
        </nav>
        <div class="tools">
          <a href="/docs">API</a>
          <ThemeChoice />
        </div>
      </header>
      <main id="main">
        <h1 ref={heading} tabIndex={-1}>{view?.title ?? "There is no such view"}</h1>
        {View ? <Boundary key={here.view}><View route={here} /></Boundary> : <p>The address names no view of this dashboard. <a href={href("try")}>Try a photograph</a>.</p>}
      </main>
    </>
  );
}

function ThemeChoice() {
  const value = useStore(theme);
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select value={value} onChange={(e) => setTheme(e.currentTarget.value as Theme)}>
        <option value="auto">system</option>
        <option value="light">light</option>
        <option value="dark">dark</option>
      </select>
    </label>
  );
}
