/** How close the logits b of one image are to the reference a. Go: compare.Logits. */
export interface Agreement {
  /** max |a-b| */
  max_abs: number;
  /** mean |a-b| */
  mean_abs: number;
  /** max |a|, against which max_abs is judged. */
  scale: number;
  cosine: number;
  /** 10 log10(Σa² / Σ(a-b)²) in dB, 300 where there is no difference. */
  snr_db: number;
  /** Divergence of b's softmax from a's, in nats. */
  kl: number;
  /** Both name the same class. */
  top1_equal: boolean;
  /** The share of a's five best classes that are among b's. */
  top5_overlap: number;
}

const maxSNR = 300;
/** Stands for an infinite difference, which JSON cannot say. */
const worst = Number.MAX_VALUE;

const fp32Tolerance = 1e-3; // of the largest logit
const fp32SNR = 80; // dB

/** Compares two outputs of one image. Where only one of two values is finite, max_abs is the largest number. */
export function agreement(a: Float32Array, b: Float32Array): Agreement {
  if (a.length !== b.length) throw new Error(`${b.length} logits, the reference has ${a.length}`);
  const p = logSoftmax(a);
  const q = logSoftmax(b);
  let kl = 0;
  for (let i = 0; i < p.length; i++) kl += Math.exp(p[i]!) * (p[i]! - q[i]!);
  kl = Math.max(kl, 0); // below 0 by rounding only; NaN stays

  const k = Math.min(5, a.length);
  const top = best(a, k);
  const other = best(b, k);
  return {
    ...values(a, b),
    kl: Number.isFinite(kl) ? kl : worst,
    top1_equal: k > 0 && top[0] === other[0],
    top5_overlap: k > 0 ? top.filter((i) => other.includes(i)).length / k : 0,
  };
}

/**
 * Whether two targets are as close as they should be: fp32 targets within a
 * thousandth of the largest logit and an SNR of 80 dB; where one computes in
 * less, both name the same class. Targets are canonical names.
 */
export function agrees(g: Agreement, a: string, b: string): boolean {
  return isFP32(a) && isFP32(b) ? closely(g) : g.top1_equal;
}

/** Whether two outputs are as close as fp32 targets must be. */
export const closely = (g: Pick<Agreement, "max_abs" | "scale" | "snr_db">): boolean => g.max_abs <= fp32Tolerance * g.scale && g.snr_db >= fp32SNR;

/** The default of every backend is fp32. */
function isFP32(target: string): boolean {
  return !target
    .split(":")
    .slice(1)
    .some((part) => ["fp16", "bf16", "int8"].includes(part));
}

type Values = Pick<Agreement, "max_abs" | "mean_abs" | "scale" | "cosine" | "snr_db">;

function values(a: Float32Array, b: Float32Array): Values {
  let [max, sum, dd] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    const d = Math.abs(x - y);
    if (!Number.isFinite(d)) return { max_abs: worst, mean_abs: worst, scale: 0, cosine: 0, snr_db: -maxSNR };
    max = Math.max(max, d);
    sum += d;
    dd += d * d;
  }
  let [scale, dot, aa, bb] = [0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    if (!Number.isFinite(x)) continue;
    scale = Math.max(scale, Math.abs(x));
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return {
    max_abs: max,
    mean_abs: sum / Math.max(a.length, 1),
    scale,
    cosine: aa > 0 && bb > 0 ? dot / Math.sqrt(aa * bb) : 1,
    snr_db: dd > 0 ? Math.max(-maxSNR, Math.min(maxSNR, 10 * Math.log10(aa / dd))) : maxSNR,
  };
}

function logSoftmax(x: Float32Array): number[] {
  const highest = x.reduce((m, v) => Math.max(m, v), -Infinity);
  const sum = x.reduce((s, v) => s + Math.exp(v - highest), 0);
  return Array.from(x, (v) => v - highest - Math.log(sum));
}

/** The indices of the k largest values, the largest first. */
export function best(x: Float32Array, k: number): number[] {
  return Array.from(x.keys())
    .sort((i, j) => x[j]! - x[i]!)
    .slice(0, k);
}
