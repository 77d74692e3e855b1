/** What a page and the worker of one runner say to each other. */

export type RuntimeName = "ort" | "litert";
export type DeviceName = "wasm" | "webgpu";

/** What a worker is to load. */
export interface LoadOptions {
  runtime: RuntimeName;
  device: DeviceName;
  /** CPU threads of one run; 1 loads no threaded code where there is other. */
  threads: number;
  /** Absolute URL of the folder that holds ort/ and litert/, with a slash at its end. */
  base: string;
  /** The exported model: .onnx for ort, .tflite for litert. */
  model: Uint8Array<ArrayBuffer>;
}

/** What runs a model: Go's bench.TargetFacts. Numbers are 0 where the runtime does not tell. */
export interface Description {
  /** CPU threads that one run really uses. */
  threads: number;
  provider: string;
  delegated_nodes: number;
  nodes: number;
  library: string;
  library_version: string;
  weight_bytes: number;
  arena_bytes: number;
}

export interface Loaded {
  description: Description;
  /** Time to fetch the runtime, compile its WebAssembly and open a first session, in ms. */
  runtimeMS: number;
  /** Time to open another session of the model's bytes, in ms. */
  openMS: number;
}

/** One turn: at least minMS and minCount queries, at most maxCount. */
export interface Turn {
  /** Queries before the turn that are not recorded. */
  warmCount: number;
  minMS: number;
  minCount: number;
  maxCount: number;
  /** Images that queries take in turn, each NHWC [H W 3]. */
  inputs: Float32Array<ArrayBuffer>[];
}

export interface Measured {
  /** Time of each query in ms: from NHWC pixels to logits, both in the worker's memory. */
  samplesMS: number[];
  durationMS: number;
}

/** The requests of a worker, each with what answers it. The first is load. */
export interface Requests {
  load: { request: LoadOptions; answer: Loaded };
  /** Closes the session and opens it anew; the answer is the time of opening in ms. */
  reopen: { request: null; answer: number };
  /** NHWC [H W 3] to logits [classes]. */
  run: { request: Float32Array<ArrayBuffer>; answer: Float32Array<ArrayBuffer> };
  measure: { request: Turn; answer: Measured };
}

export type Kind = keyof Requests;

export type Message = { [K in Kind]: { id: number; kind: K; request: Requests[K]["request"] } }[Kind];

export type Reply = { id: number; answer: Requests[Kind]["answer"] } | { id: number; error: string };
