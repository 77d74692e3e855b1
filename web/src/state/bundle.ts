// Bundles: the files with all of a run.
import { ask, Failure } from "../api/client";

/** What the charts need of a bundle; bench.Bundle has the rest. */
export interface Bundle {
  id: string;
  environment: {
    os: string;
    arch: string;
    kernel: string;
    cpu: string;
    cores: number;
    memory_bytes: number;
    version: string;
    governor: string;
    browser?: string;
  };
  disturbances: number;
  models: { name: string; hash: string; macs: number; untrained: boolean }[];
  subjects: BundleSubject[];
}

export interface BundleSubject {
  model: string;
  target: string;
  label: string;
  error?: string;
  description?: { threads: number; provider: string; library: string; library_version: string; weight_bytes: number; arena_bytes: number; nodes: number; delegated_nodes: number };
  slices: { block: number; position: number; start_ms: number; duration_ms: number; samples_ms: number[]; unanswered?: number }[];
}

/** The bundle of a run that is done. */
export async function getBundle(id: string, signal?: AbortSignal): Promise<Bundle> {
  const response = await ask(`/benchmarks/${encodeURIComponent(id)}/bundle`, signal ? { signal } : {});
  if (!response.body) throw new Failure({ title: "Unexpected answer", detail: "The bundle is empty." });
  return (await new Response(response.body.pipeThrough(new DecompressionStream("gzip"))).json()) as Bundle;
}
