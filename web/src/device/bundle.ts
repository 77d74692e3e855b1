import type { Description } from "./protocol";

/** The form of a run's file: Go's bench.Bundle, without the summary, which a reader makes anew. */
export interface Bundle {
  schema: 2;
  id: string;
  origin: "browser";
  /** RFC 3339, UTC. */
  created: string;
  finished: string;
  plan: Plan;
  models: ModelFacts[];
  environment: Environment;
  disturbances: number;
  probes: never[];
  /** Every model on every target, model by model, in the plan's order. */
  subjects: Subject[];
}

export interface Plan {
  scenario: "single-stream";
  models: string[];
  /** Ids of runners, the one that others are related to first. */
  targets: string[];
  /** Of the runners that use several. */
  threads: number;
  batch: 1;
  /** Over all blocks; min_duration_ms in ms. */
  min_duration_ms: number;
  min_count: number;
  blocks: number;
  /** A whole number up to 2⁵³-1. */
  seed: number;
}

export interface ModelFacts {
  name: string;
  /** 64 hexadecimal digits. */
  hash: string;
  untrained: boolean;
  /** Of one image. */
  macs: number;
}

export interface Environment {
  os: string;
  arch: string;
  kernel: string;
  cpu: string;
  cpu_flags: string[];
  cores: number;
  memory_bytes: number;
  governor: string;
  gomaxprocs: number;
  cpu_quota: number;
  go: string;
  /** Of the program that served the page. */
  version: string;
  load_before: number[];
  load_after: number[];
  others: Reading;
  stolen: Reading;
  peak_resident_bytes: Reading;
  /** What the browser calls itself. */
  browser?: string;
}

/** A value, or why there is none. */
export interface Reading {
  value: number;
  missing: string;
}

export interface Subject {
  model: string;
  target: string;
  label: string;
  /** Why it could not run. */
  error?: string;
  description?: Description;
  sessions: number;
  /** How long each opening of a session took, in ms. */
  open_ms?: number[];
  resident_bytes: Reading;
  energy_missing: string;
  slices: Slice[];
}

/** A subject's turn in one block. */
export interface Slice {
  block: number;
  /** In the order of the block, from 1. */
  position: number;
  /** Since the run began. */
  start_ms: number;
  duration_ms: number;
  samples_ms: number[];
}

export const notHere = (why: string): Reading => ({ value: 0, missing: `not measurable here: ${why}` });

/** Unique, and sorts by time: Go's newID. */
export function newID(at: Date): string {
  const time = at.toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return `${time}-${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
}

/** Text that a bundle may hold: printable, at most 4096 bytes of UTF-8. */
export function printable(text: string): string {
  const clean = text.replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} \n\t]/gu, " ");
  const cut = new Uint8Array(4096);
  const { written } = new TextEncoder().encodeInto(clean, cut);
  return new TextDecoder().decode(cut.subarray(0, written));
}

/** What the browser tells of the machine, in Go's names of systems and architectures; version is that of the program. */
export async function environment(version: string): Promise<Environment> {
  const [os, arch] = await platform();
  const load = notHere("a browser does not tell");
  return {
    os,
    arch,
    kernel: "",
    cpu: "",
    cpu_flags: [],
    cores: navigator.hardwareConcurrency || 0,
    memory_bytes: 0,
    governor: "",
    gomaxprocs: 0,
    cpu_quota: 0,
    go: "",
    version: printable(version),
    load_before: [],
    load_after: [],
    others: load,
    stolen: load,
    peak_resident_bytes: load,
    browser: printable(navigator.userAgent),
  };
}

/** Of Chromium only. */
interface UserAgentData {
  getHighEntropyValues(hints: string[]): Promise<{ platform?: string; architecture?: string; bitness?: string }>;
}

async function platform(): Promise<[os: string, arch: string]> {
  const data = (navigator as { userAgentData?: UserAgentData }).userAgentData;
  // Without a secure context there is no data; the user may have it refused.
  const hints = await data?.getHighEntropyValues(["architecture", "bitness"]).catch(() => undefined);
  const architectures: Record<string, string> = { "x86 64": "amd64", "arm 64": "arm64", "x86 32": "386", "arm 32": "arm" };
  const arch = architectures[`${hints?.architecture} ${hints?.bitness}`];
  return [systemOf(hints?.platform || navigator.userAgent), arch ?? ""];
}

/** The system that a platform's name or a user agent names, in Go's names; empty where none is known. */
export function systemOf(text: string): string {
  const systems: [RegExp, string][] = [
    [/android/i, "android"],
    [/iphone|ipad|\bios\b/i, "ios"],
    [/windows/i, "windows"],
    [/mac/i, "darwin"],
    [/cros|chrome ?os/i, "linux"],
    [/linux/i, "linux"],
  ];
  return systems.find(([form]) => form.test(text))?.[1] ?? "";
}

/** The file of a bundle: gzipped JSON. */
export async function gzipBundle(b: Bundle): Promise<Blob> {
  const zipped = new Blob([JSON.stringify(b)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(zipped, { headers: { "Content-Type": "application/gzip" } }).blob();
}
