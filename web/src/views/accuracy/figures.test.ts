import { expect, test } from "vitest";

import type { PreprocessReport } from "../../api/client";
import { about, difference, dots, share, verdict } from "./figures";

const top1 = { count: 174, of: 200, share: 0.87, low: 0.8164, high: 0.9096 };
const of = (value: number, low: number, high: number) => ({ gained: 1, lost: 1, value, low, high });
const report = (name: string): PreprocessReport => ({
  name, size: 64, resize: "shorter_side", crop_ratio: 1, filter: "bicubic", mean: [0, 0, 0], std: [1, 1, 1], antialias: true,
  equal_inputs: 0, results: [{ target: "purego", top1, top5: top1, median_inference_ms: 1 }], pairs: [], differing: [],
});

test("a share has its interval and its count", () => expect(share(top1)).toBe("87.0 % [81.6 % 91.0 %], 174 of 200"));

test.each([
  [of(-0.0012, -0.0031, 0.0007), "-0.12 [-0.31 +0.07]", "no difference shown"],
  [of(0, -0.01, 0.01), "+0.00 [-1.00 +1.00]", "no difference shown"],
  [of(-0.000001, -0.01, 0.01), "+0.00 [-1.00 +1.00]", "no difference shown"],
  [of(0.02, 0.01, 0.03), "+2.00 [+1.00 +3.00]", "above"],
  [of(-0.02, -0.03, -0.01), "-2.00 [-3.00 -1.00]", "below"],
])("a difference is in points: %#", (d, text, said) => {
  expect(difference(d)).toBe(text);
  expect(verdict(d, "above", "below")).toBe(said);
});

test("dots bear the preprocessing where there are several", () => {
  expect(dots([report("reference")])).toEqual([{ name: "purego", value: { value: 87, low: 81.64, high: 90.96 } }]);
  expect(dots([report("reference"), report("nearest")]).map((d) => d.name)).toEqual(["purego, reference", "purego, nearest"]);
});

test.each([
  [{ name: "photos", images: 50_000, classes: 1000 }, "photos: 50,000 images of 1,000 classes"],
  [{ name: "one", images: 1, classes: 1 }, "one: 1 image of 1 class"],
  [{ name: "gone", error: "no such file or directory" }, "gone: no such file or directory"],
])("a data set: %#", (d, text) => expect(about(d)).toBe(text));
