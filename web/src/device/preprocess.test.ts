import { expect, test } from "vitest";
import { crop, placement, tensor, type Pixels, type Preprocess } from "./preprocess";

/** 17 × 11: r = 13x + 7y, g = xy modulo 256, b = 255 where x + y is odd. */
function picture(): Pixels {
  const [width, height] = [17, 11];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) data.set([(13 * x + 7 * y) & 255, (x * y) & 255, 255 * ((x + y) % 2), 255], 4 * (width * y + x));
  }
  return { width, height, data };
}

function spec(size: number, resize: string, crop_ratio: number, filter: string): Preprocess {
  return { size, resize, crop_ratio, filter, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

/** FNV-1a, 32 bits. */
const hash = (bytes: Uint8Array) => bytes.reduce((h, v) => Math.imul(h ^ v, 16777619) >>> 0, 2166136261);

// The wanted values are those of Go's preprocess.Image.Crop: a hash of all bytes, and the first ones.
test.each([
  [4, "shorter_side", 0.875, "bicubic", 2829897396, [55, 3, 128, 93, 6, 128]],
  [4, "shorter_side", 1, "bilinear", 4184106949, [57, 4, 127, 94, 8, 128]],
  [5, "squash", 1, "lanczos", 3047734784, [20, 1, 126, 63, 3, 128]],
  [6, "shorter_side", 1.5, "nearest", 3960768813, [0, 0, 0, 0, 0, 0]],
  [14, "squash", 1, "bicubic", 1535282489, [2, 0, 46, 17, 0, 165]],
])("crop of %d, %s, ratio %d, %s", (size, resize, ratio, filter, want, first) => {
  const rgb = crop(picture(), spec(size, resize, ratio, filter));
  expect([...rgb.slice(0, first.length)]).toEqual(first);
  expect([rgb.length, hash(rgb)]).toEqual([3 * size * size, want]);
});

test("tensor", () => {
  const want = [-1.1760426, -1.9831933, 0.42649257, -0.5253019, -1.9306722, 0.42649257, 0.09118938, -1.8781512, 0.42649257, 0.74193, -1.8256302, 0.42649257];
  const got = tensor(picture(), spec(4, "shorter_side", 0.875, "bicubic"));
  expect(got.slice(0, want.length)).toEqual(Float32Array.from(want));
});

test.each([
  [17, 11, { width: 23, height: 15, left: 4, top: 0 }], // 23-14 is 9: 4.5 goes to 4
  [11, 17, { width: 15, height: 23, left: 0, top: 4 }], // 15-14 is 1: 0.5 goes to 0
  [14, 14, { width: 15, height: 15, left: 0, top: 0 }],
])("placement of %d × %d", (w, h, want) => {
  expect(placement(w, h, spec(14, "shorter_side", 0.9, "bicubic"))).toEqual(want);
});

test("what is not known", () => {
  expect(() => crop(picture(), spec(4, "stretch", 1, "bicubic"))).toThrow("stretch");
  expect(() => crop(picture(), spec(4, "squash", 1, "box"))).toThrow("box");
});
