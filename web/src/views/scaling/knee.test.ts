import { expect, test } from "vitest";

import type { Point } from "./ScalingView";
import { knee } from "./knee";

const at = (rate: number, served: number, bound_met = true) => ({ rate, subject: { throughput: { value: served }, p99_ms: { value: 12 }, bound_met } as Point["subject"] });

test.each([
  ["nothing measured", [], {}],
  ["it keeps up with all", [at(10, 10), at(20, 19.5)], { rate: 20 }],
  ["it falls behind", [at(10, 10), at(20, 18), at(40, 40)], { rate: 10, why: "at 20.0 a second it serves 90 %" }],
  ["it may keep up", [{ ...at(20, 18), subject: { ...at(20, 18).subject, throughput: { value: 18, low: 16, high: 19.5 } } }], { rate: 20 }],
  ["it is late", [at(10, 10), at(20, 20, false)], { rate: 10, why: "at 20.0 a second p99 is 12.0 ms, above the bound" }],
  ["even the lowest is too much", [at(10, 5)], { why: "at 10.0 a second it serves 50 %" }],
])("%s", (_, points, want) => expect(knee(points)).toEqual(want));
