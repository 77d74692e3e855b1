import { expect, test } from "vitest";
import { agreement, agrees, best, type Agreement } from "./agreement";

const a = Float32Array.of(3.9061601, 1.1731403, 1.1325089, -0.3834997, -0.48078591, -2.25, 0.5, 0.25, -1.75, 2.5);
const far = Float32Array.of(3.9, 1.18, 1.13, -0.38, -0.49, -2.2, 0.6, 0.2, -1.7, 2.4);
// In float32, as Go multiplies.
const near = a.map((v, i) => v * Math.fround(1 + Math.fround(Math.fround(1e-5) * ((i % 3) - 1))));

// The wanted values are those of Go's compare.OfLogits.
const cases: [string, Float32Array, Agreement][] = [
  ["itself", a, { max_abs: 0, mean_abs: 0, scale: 3.9061601161956787, cosine: 1, snr_db: 300, kl: 0, top1_equal: true, top5_overlap: 1 }],
  [
    "logits that are far",
    far,
    {
      max_abs: 0.10000002384185791,
      mean_abs: 0.03782422095537186,
      scale: 3.9061601161956787,
      cosine: 0.9996558520970656,
      snr_db: 30.75987369983227,
      kl: 0.0007997251766588311,
      top1_equal: true,
      top5_overlap: 1,
    },
  ],
  [
    "logits that are near",
    near,
    {
      max_abs: 0.00003910064697265625,
      mean_abs: 0.000012424588203430175,
      scale: 3.9061601161956787,
      cosine: 0.9999999999597301,
      snr_db: 100.22323580681845,
      kl: 1.1106602147516512e-10,
      top1_equal: true,
      top5_overlap: 1,
    },
  ],
];

test.each(cases)("agreement with %s", (_, b, want) => {
  const got = agreement(a, b);
  for (const key of ["max_abs", "mean_abs", "scale", "cosine", "snr_db", "kl"] as const) {
    expect(Math.abs(got[key] - want[key]), key).toBeLessThanOrEqual(1e-9 * Math.abs(want[key]) + 1e-15);
  }
  expect([got.top1_equal, got.top5_overlap]).toEqual([want.top1_equal, want.top5_overlap]);
});

test("a value that is not a number", () => {
  const b = far.slice();
  b[0] = NaN;
  const got = agreement(a, b);
  expect(got).toMatchObject({ max_abs: Number.MAX_VALUE, mean_abs: Number.MAX_VALUE, scale: 0, cosine: 0, snr_db: -300, kl: Number.MAX_VALUE });
  expect(agrees(got, "purego", "ort-web")).toBe(false);
});

test("agrees by the precision of the targets", () => {
  expect(agrees(agreement(a, near), "purego", "litert-web:webgpu")).toBe(true);
  expect(agrees(agreement(a, far), "purego", "ort-web:threads")).toBe(false);
  expect(agrees(agreement(a, far), "purego:int8", "ort-web")).toBe(true);
});

test("the best classes, the first of equal ones first", () => {
  expect(best(Float32Array.of(1, 3, 2, 3), 3)).toEqual([1, 3, 2]);
});

test("lengths that differ", () => {
  expect(() => agreement(a, a.slice(1))).toThrow("9 logits, the reference has 10");
});
