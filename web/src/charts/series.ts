// How the series of a chart are told apart: by colour, dashes and shape at once.

const dashes: number[][] = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4], [1, 2], [6, 2, 1, 2]];

/** The CSS variable with the colour of series i. */
export const colourOf = (i: number) => `--series-${i % 8}`;
export const dashOf = (i: number): number[] => dashes[i % dashes.length] ?? [];

/** The outline of series i's marker, about r around the origin. */
export function markerPath(i: number, r: number): string {
  switch (i % 6) {
    case 0: // disc
      return `M ${-r} 0 a ${r} ${r} 0 1 0 ${2 * r} 0 a ${r} ${r} 0 1 0 ${-2 * r} 0 Z`;
    case 1: // square
      return `M ${-r * 0.9} ${-r * 0.9} h ${1.8 * r} v ${1.8 * r} h ${-1.8 * r} Z`;
    case 2: // triangle
      return `M 0 ${-1.15 * r} L ${1.1 * r} ${0.85 * r} L ${-1.1 * r} ${0.85 * r} Z`;
    case 3: // diamond
      return `M 0 ${-1.3 * r} L ${1.3 * r} 0 L 0 ${1.3 * r} L ${-1.3 * r} 0 Z`;
    case 4: // triangle on its tip
      return `M 0 ${1.15 * r} L ${1.1 * r} ${-0.85 * r} L ${-1.1 * r} ${-0.85 * r} Z`;
    default: // cross
      return `M ${-r} ${-0.35 * r} h ${0.65 * r} v ${-0.65 * r} h ${0.7 * r} v ${0.65 * r} h ${0.65 * r} v ${0.7 * r} h ${-0.65 * r} v ${0.65 * r} h ${-0.7 * r} v ${-0.65 * r} h ${-0.65 * r} Z`;
  }
}

/** Round numbers from low to high, about n of them. */
export function ticks(low: number, high: number, n = 5): number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((m) => m * power >= raw) ?? 10) * power;
  const out: number[] = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return out;
}

/** How far ticks lie apart; of a single one, as many digits as it has. */
export const stepOf = (at: number[]): number => ((at[1] ?? 0) - (at[0] ?? 0) > 0 ? (at[1] ?? 0) - (at[0] ?? 0) : Math.abs(at[0] ?? 0) || 1);
