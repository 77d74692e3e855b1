/** Random numbers that are the same for the same seed. */
export interface Random {
  /** Uniform in [0, 1), with 32 bits. */
  uniform(): number;
  /** Uniform among 0 … n-1. */
  below(n: number): number;
  /** Of the standard normal distribution. */
  normal(): number;
}

/** What a seed is used for; with the number of a block it gives a stream of its own. */
export type Purpose = "inputs" | "order" | "intervals";
const purposes: Record<Purpose, number> = { inputs: 1, order: 2, intervals: 4 };

/** sfc32 of PractRand. seed is a whole number up to 2⁵³-1. */
export function random(seed: number, purpose: Purpose, block = 0): Random {
  let a = seed >>> 0;
  let b = Math.floor(seed / 2 ** 32);
  let c = (purposes[purpose] << 16) | block;
  let counter = 1;
  const next = () => {
    const t = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 15; i++) next(); // until the seed is mixed
  const uniform = () => next() / 2 ** 32;
  return {
    uniform,
    below: (n) => Math.floor(uniform() * n),
    // Box and Muller 1958; 1 - u is never 0.
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  };
}

/** The numbers 0 … n-1 in random order (Fisher and Yates). */
export function permutation(n: number, r: Random): number[] {
  const p = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = r.below(i + 1);
    [p[i], p[j]] = [p[j]!, p[i]!];
  }
  return p;
}
