/**
 * A photograph to a model's input, in the browser: the decoder is the
 * browser's, the rest is a port of Go's package preprocess, which follows
 * Pillow's Resample.c and torchvision to the bit.
 */

/** The Preprocess of a model, as the API tells it. */
export interface Preprocess {
  /** Side of the square input in pixels. */
  size: number;
  /** shorter_side: the shorter side to int(size / crop_ratio), then a centre crop; squash: both sides to size. */
  resize: string;
  crop_ratio: number;
  /** bicubic, bilinear, lanczos or nearest. */
  filter: string;
  /** Of red, green and blue in 0..1. */
  mean: readonly number[];
  std: readonly number[];
}

/** An upright picture; data is RGBA, [height width 4], of which alpha is not read. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

/**
 * Decodes a picture upright and on white, without colour management, as the
 * server does. A browser that blurs canvases against fingerprinting returns
 * other pixels, and says nothing of it.
 */
export async function decode(file: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error(`no canvas of ${width} × ${height} pixels`);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  } finally {
    bitmap.close();
  }
}

/** The model's input, NHWC [size size 3]: crop, then mean and standard deviation. */
export function tensor(picture: Pixels, p: Preprocess): Float32Array<ArrayBuffer> {
  return normalize(crop(picture, p), p);
}

/** (v/255 - mean) / std of each byte of [size size 3] RGB, in float32 as torchvision computes. */
export function normalize(rgb: Uint8Array, p: Preprocess): Float32Array<ArrayBuffer> {
  const f = Math.fround;
  const table = [0, 1, 2].map((c) => Float32Array.from({ length: 256 }, (_, v) => f(f(f(v / 255) - f(p.mean[c] ?? 0)) / f(p.std[c] ?? 1))));
  return Float32Array.from(rgb, (v, i) => table[i % 3]![v]!);
}

/** Resizes and crops as torchvision's Resize and CenterCrop do a PIL image: RGB, [size size 3]. */
export function crop(picture: Pixels, p: Preprocess): Uint8Array<ArrayBuffer> {
  const { width, height } = picture;
  const at = placement(width, height, p);
  const across = windows(p.filter, width, at.width, at.left, p.size);
  const down = windows(p.filter, height, at.height, at.top, p.size);

  // Pillow resamples across first, and rounds to bytes before it resamples down.
  const rowBytes = 3 * p.size;
  const first = Math.min(...down.filter((w) => w.weights.length > 0).map((w) => w.first));
  const end = Math.max(...down.map((w) => w.first + w.weights.length));
  const rows = new Uint8Array(rowBytes * Math.max(end - first, 0));
  for (let y = first; y < end; y++) {
    resampleRow(rows.subarray((y - first) * rowBytes), picture.data.subarray(4 * width * y), across);
  }
  const out = new Uint8Array(rowBytes * p.size);
  const sums = new Int32Array(rowBytes);
  down.forEach((w, y) => {
    sums.fill(half);
    w.weights.forEach((weight, k) => {
      const row = (w.first + k - first) * rowBytes;
      for (let i = 0; i < rowBytes; i++) sums[i]! += rows[row + i]! * weight;
    });
    for (let i = 0; i < rowBytes; i++) out[y * rowBytes + i] = clip(sums[i]! >> precision);
  });
  return out;
}

/** Writes one RGB pixel for each window over the RGBA pixels of src. */
function resampleRow(dst: Uint8Array, src: Uint8ClampedArray, ws: Window[]): void {
  ws.forEach((w, x) => {
    let [r, g, b] = [half, half, half];
    for (let k = 0, i = 4 * w.first; k < w.weights.length; k++, i += 4) {
      const weight = w.weights[k]!;
      r += src[i]! * weight;
      g += src[i + 1]! * weight;
      b += src[i + 2]! * weight;
    }
    dst[3 * x] = clip(r >> precision);
    dst[3 * x + 1] = clip(g >> precision);
    dst[3 * x + 2] = clip(b >> precision);
  });
}

const clip = (v: number) => Math.min(Math.max(v, 0), 255);

/** Which sides a picture is resized to and where the crop begins. torchvision: _compute_resized_output_size, center_crop. */
export function placement(width: number, height: number, p: Preprocess): { width: number; height: number; left: number; top: number } {
  if (p.resize === "squash") return { width: p.size, height: p.size, left: 0, top: 0 };
  if (p.resize !== "shorter_side") throw new Error(`resize ${p.resize} is not shorter_side or squash`);
  const short = Math.trunc(p.size / p.crop_ratio);
  const w = width <= height ? short : Math.trunc((short * width) / height);
  const h = width <= height ? Math.trunc((short * height) / width) : short;
  return { width: w, height: h, left: cropOffset(w, p.size), top: cropOffset(h, p.size) };
}

/** Halves go to the even number, as Python rounds; a side shorter than the crop is padded, the smaller half first. */
function cropOffset(side: number, size: number): number {
  if (side < size) return -Math.trunc((size - side) / 2);
  const middle = Math.floor((side - size) / 2);
  return (side - size) % 2 === 1 && middle % 2 === 1 ? middle + 1 : middle;
}

/** The number of fraction bits of a weight: Pillow's PRECISION_BITS, which leaves 8 bits for the pixel and 2 for overshoot. */
const precision = 32 - 8 - 2;
const half = 1 << (precision - 1);

/** Where one output sample comes from: the input samples from first on, each with its weight. No weights stand for black. */
interface Window {
  first: number;
  weights: Int32Array;
}

/** A resampling kernel: its value at x, which is 0 from support on. */
interface Filter {
  support: number;
  at(x: number): number;
}

const filters: Record<string, Filter> = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const a = -0.5;
      x = Math.abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: { support: 3, at: (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The n output samples from index from on, when size samples are resized to out. Pillow: precompute_coeffs, normalize_coeffs_8bpc. */
function windows(name: string, size: number, out: number, from: number, n: number): Window[] {
  if (name === "nearest") return nearestWindows(size, out, from, n);
  const f = filters[name];
  if (!f) throw new Error(`filter ${name} is not bicubic, bilinear, lanczos or nearest`);
  const scale = size / out;
  const stretch = Math.max(scale, 1); // antialiasing: the kernel grows when shrinking
  const support = f.support * stretch;
  return Array.from({ length: n }, (_, i) => {
    const o = from + i;
    if (o < 0 || o >= out) return { first: 0, weights: new Int32Array(0) };
    const center = (o + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(size, Math.trunc(center + support + 0.5)) - first;
    const weights = Array.from({ length: count }, (_, k) => f.at((k + first - center + 0.5) * (1 / stretch)));
    const sum = weights.reduce((s, w) => s + w, 0);
    const fixed = weights.map((w) => {
      const v = sum === 0 ? w : w / sum;
      return Math.trunc((v < 0 ? -0.5 : 0.5) + v * (1 << precision));
    });
    return { first, weights: Int32Array.from(fixed) };
  });
}

/** Pillow's ImagingScaleAffine, whose position is a running sum, rounding errors included. */
function nearestWindows(size: number, out: number, from: number, n: number): Window[] {
  const ws: Window[] = Array.from({ length: n }, () => ({ first: 0, weights: new Int32Array(0) }));
  const step = size / out;
  let at = step * 0.5;
  for (let o = 0; o < Math.min(out, from + n); o++, at += step) {
    if (o >= from) ws[o - from] = { first: Math.min(Math.trunc(at), size - 1), weights: Int32Array.of(1 << precision) };
  }
  return ws;
}
