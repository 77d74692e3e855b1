import { RunnerWorker } from "./client";
import { gpu } from "./gpu";
import type { DeviceName, Loaded, RuntimeName } from "./protocol";

/** A way to run a model in a browser. */
export interface Runner {
  /** Its name as a target of a run: runtime, or runtime:how. */
  id: string;
  runtime: RuntimeName;
  device: DeviceName;
  /** Whether it uses as many threads as the plan says; the others use one. */
  threaded: boolean;
  /** The format of the exported model that it takes. */
  format: "onnx" | "tflite";
}

/** All runners; the first is the one that others are related to. */
export const runners: readonly Runner[] = [
  { id: "ort-web", runtime: "ort", device: "wasm", threaded: false, format: "onnx" },
  { id: "ort-web:threads", runtime: "ort", device: "wasm", threaded: true, format: "onnx" },
  { id: "ort-web:webgpu", runtime: "ort", device: "webgpu", threaded: false, format: "onnx" },
  { id: "litert-web", runtime: "litert", device: "wasm", threaded: false, format: "tflite" },
  { id: "litert-web:threads", runtime: "litert", device: "wasm", threaded: true, format: "tflite" },
  { id: "litert-web:webgpu", runtime: "litert", device: "webgpu", threaded: false, format: "tflite" },
];

/** As many threads as Go's backend.DefaultThreads: the cores, at most 4. */
export function defaultThreads(): number {
  return Math.min(navigator.hardwareConcurrency || 1, 4);
}

/**
 * Why a runner cannot run here, or null. base is the absolute URL of the
 * folder of the browsers' runtimes, with a slash at its end.
 */
export async function unavailable(r: Runner, base: string): Promise<string | null> {
  return (
    (r.threaded ? threadsMissing() : null) ??
    (r.device === "webgpu" ? await webGPUMissing() : null) ??
    (await filesMissing(new URL(r.runtime === "ort" ? `ort/ort.${r.device}.min.mjs` : "litert/index.js", base)))
  );
}

const insecure = "this page came neither over HTTPS nor from localhost, so the browser withholds";

function threadsMissing(): string | null {
  if (navigator.hardwareConcurrency === 1) return "this device has one core";
  if (!isSecureContext) return `${insecure} threads`;
  if (!crossOriginIsolated) return "the page is not cross-origin isolated, so the browser withholds shared memory";
  return null;
}

async function webGPUMissing(): Promise<string | null> {
  const found = gpu();
  if (!found) return isSecureContext ? "this browser has no WebGPU" : `${insecure} WebGPU`;
  try {
    return (await found.requestAdapter()) ? null : "WebGPU is there, but no adapter: the browser knows no GPU that it may use";
  } catch (error) {
    return `WebGPU gives no adapter: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function filesMissing(url: URL): Promise<string | null> {
  try {
    const response = await fetch(url, { method: "HEAD" });
    if (response.ok) return null;
    if (response.status === 404) return "the server has no browser runtimes: run make runtimes";
    return `the server answers ${response.status} for ${url.pathname}`;
  } catch (error) {
    return `the server does not answer: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A loaded runner. Its close ends the worker. */
export interface OpenRunner extends Loaded {
  worker: RunnerWorker;
}

/** Loads a model into a worker of its own; where that fails the worker is gone. */
export async function openRunner(r: Runner, base: string, model: Uint8Array<ArrayBuffer>, threads: number, signal?: AbortSignal): Promise<OpenRunner> {
  signal?.throwIfAborted();
  const worker = new RunnerWorker();
  signal?.addEventListener("abort", () => worker.close(abortError(signal)), { once: true });
  try {
    const loaded = await worker.ask("load", { runtime: r.runtime, device: r.device, threads: r.threaded ? threads : 1, base, model });
    return { ...loaded, worker };
  } catch (error) {
    worker.close();
    throw error;
  }
}

function abortError(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}
