// Numbers as people read them.
import type { Interval } from "../api/client";

const trim = (text: string) => (text.includes("e") ? text : text.replace(/\.0+$|(\.\d*[1-9])0+$/, "$1"));

/** v with n significant digits. */
export function digits(v: number, n = 3): string {
  if (!Number.isFinite(v)) return String(v);
  const a = Math.abs(v);
  if (a === 0) return "0";
  if (a >= 1e6 || a < 1e-4) return v.toExponential(n - 1);
  return a >= 10 ** n ? Math.round(v).toLocaleString("en") : v.toPrecision(n);
}

/** v at an axis whose ticks lie step apart. */
export function tickText(v: number, step: number): string {
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Math.abs(v) >= 1e6 ? v.toExponential(1) : v.toLocaleString("en", { maximumFractionDigits: Math.min(places, 12) });
}

export const ms = (v: number) => (v > 0 && v < 0.01 ? "under 0.01 ms" : `${digits(v)} ms`);
export const percent = (v: number, places = 1) => `${(100 * v).toFixed(places)} %`;
export const small = (v: number) => (v === 0 ? "0" : v.toExponential(1));

/** A number of bytes in decimal units. */
export function bytes(v: number): string {
  const sign = v < 0 ? "-" : "";
  let a = Math.abs(v);
  for (const unit of ["B", "kB", "MB"]) {
    if (a < 1000) return `${sign}${trim(digits(a))} ${unit}`;
    a /= 1000;
  }
  return `${sign}${trim(digits(a))} GB`;
}

/** An estimate with its bounds, "5.35 [5.33 5.38]". */
export function interval(i: Interval, show: (v: number) => string = digits): string {
  return i.low === undefined || i.high === undefined ? show(i.value) : `${show(i.value)} [${show(i.low)} ${show(i.high)}]`;
}

/** A time of day in the reader's zone. */
export const when = (iso: string) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
