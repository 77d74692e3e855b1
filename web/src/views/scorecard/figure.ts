import type { BenchmarkPlan, BenchmarkSubject, Interval } from "../../api/client";

/** The figure that a scenario is about. */
export interface Figure {
  name: string;
  unit: string;
  /** More is better. */
  more: boolean;
  of: (s: BenchmarkSubject) => Interval;
}

export function mainFigure(scenario: BenchmarkPlan["scenario"]): Figure {
  switch (scenario) {
    case "server":
      return { name: "p99", unit: "ms", more: false, of: (s) => s.p99_ms };
    case "offline":
      return { name: "Throughput", unit: "images a second", more: true, of: (s) => s.throughput };
    default:
      return { name: "p90", unit: "ms", more: false, of: (s) => s.p90_ms };
  }
}
