import { expect, test } from "vitest";

import type { PreprocessReport } from "../../api/client";
import { about, difference, dots, eachRuntime, ending, equalInputs, evaluable, ignored, share, verdict } from "./figures";

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

test("the reference has no share of inputs equal to its own", () => {
  expect(equalInputs(report("reference"), true, 200)).toBe("is the reference");
  expect(equalInputs(report("nearest"), false, 200)).toBe("0 of 200");
});

test.each([[1, "1 file was ignored: no image by its name"], [1200, "1,200 files were ignored: no images by their names"]])("files left out: %#", (n, text) => expect(ignored(n)).toBe(text));

const target = (name: string, rest: object = {}) => ({ target: name, backend: name.split(":")[0] ?? "", available: true, default: false, ...rest });

test("an evaluation begins with the default target and the other runtimes' defaults", () => {
  const targets = [
    target("onnx"), target("onnx:int8", { precision: "int8" }), target("purego", { default: true }), target("purego:int8", { precision: "int8" }),
    target("tflite"), target("tflite:plain", { device: "plain" }), target("triton", { available: false }),
  ];
  expect(eachRuntime({ default: "purego", targets })).toEqual(["purego", "onnx", "tflite"]);
});

test.each([["birds", "birds"], [undefined, "demo"], ["random:xs", "demo"]])("the model at first where the default is %s", (name, first) => {
  const models = ["demo", "birds", "random:xs"].map((n) => ({ name: n, state: "ready" as const, default: n === name, untrained: false }));
  expect(evaluable({ ...(name ? { default: name } : {}), models })).toEqual({ names: ["demo", "birds"], first });
});

const plan = { model: "demo", data_set: "photos", targets: ["purego"], preprocess: ["reference"], threads: 1 };
test.each([
  ["cancelled" as const, { done: 40, total: 200 }, "The evaluation was cancelled after 40 of 200 images."],
  ["failed" as const, { done: 0, total: 200 }, "The evaluation failed after 0 of 200 images."],
  ["interrupted" as const, undefined, "The evaluation was interrupted; nothing of it is kept."],
])("one that was %s", (state, progress, text) =>
  expect(ending({ id: "one", created: "2026-03-01T12:00:00Z", state, plan, ...(progress ? { progress } : {}) })).toBe(text));
