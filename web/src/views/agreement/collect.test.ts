import { expect, test } from "vitest";

import type { Comparison, Pair } from "../../api/client";
import { accuracies, labelOf, pairsOf, wilson } from "./collect";

// Newcombe 1998, table I, method 3.
test.each([
  [81, 263, 0.2553, 0.3662],
  [15, 148, 0.0624, 0.1605],
  [0, 20, 0, 0.1611],
  [1, 29, 0.0061, 0.1718],
])("Wilson's interval of %d of %d", (k, n, low, high) => {
  const w = wilson(k, n);
  expect(w.low).toBeCloseTo(low, 4);
  expect(w.high).toBeCloseTo(high, 4);
});

const pair = (snr_db: number, top1_equal = true): Pair => ({ a: "purego", b: "onnx", agrees: snr_db >= 80, max_abs: 2 / snr_db, mean_abs: 0, scale: 4, cosine: 1, snr_db, kl: 0, top1_equal, top5_overlap: 1 });
const says = (label: string, pairs: Pair[]): Comparison => ({
  model: "demo", model_hash: "", request_id: "", pairs,
  targets: [
    { target: "purego", predictions: [{ index: 0, label, probability: 1, logit: 1 }, { index: 1, label: "dog", probability: 0, logit: 0 }] },
    { target: "onnx", problem: { type: "", title: "", status: 503, detail: "", instance: "", request_id: "" } },
  ],
  timing: { decode_ms: 0, preprocess_ms: 0, total_ms: 0 },
  image: { format: "png", width: 1, height: 1, orientation: 1, bytes: 1 },
});

test("pairs keep their worst picture", () => {
  const [p] = pairsOf([
    { name: "one", result: says("cat", [pair(120)]) },
    { name: "two", result: says("cat", [pair(40, false)]) },
    { name: "three", result: says("cat", [pair(100)]) },
  ]);
  expect(p).toMatchObject({ count: 3, agreeing: 2, worst_snr_db: 40, worst_name: "two", worst_relative: 2 / 40 / 4 });
  expect(p?.top1.share).toBeCloseTo(2 / 3, 12);
});

test("accuracy counts the pictures whose class is known", () => {
  const all = accuracies([
    { name: "one", label: "cat", result: says("cat", []) },
    { name: "two", label: "dog", result: says("cat", []) },
    { name: "three", result: says("cat", []) },
  ]);
  expect(all).toHaveLength(1); // a target that did not run has none
  expect(all[0]).toMatchObject({ target: "purego", count: 2, top1: { share: 0.5 }, top5: { share: 1 }, wrong: [{ name: "two", said: "cat" }] });
});

test("a folder names a class only if the model has it", () => {
  expect([labelOf("data/cat/1.png", ["cat"]), labelOf("data/cats/1.png", ["cat"]), labelOf("1.png", ["cat"])]).toEqual(["cat", undefined, undefined]);
});
