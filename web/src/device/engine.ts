import { gpu } from "./gpu";

/** A runtime with one open session, inside a worker. Calls do not overlap. */
export interface Engine {
  /** CPU threads that one run really uses, once a session is open. */
  readonly threads: number;
  provider: string;
  library: string;
  version: string;
  /** Opens a session of the model; an open one is closed first. */
  open(model: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Runs one image, NHWC [H W 3]; the logits [classes] are the caller's. */
  run(input: Float32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>>;
}

/** The description of a GPU for people, as far as the browser tells. */
export async function gpuName(): Promise<string> {
  const adapter = await gpu()?.requestAdapter();
  if (!adapter) throw new Error("WebGPU has no adapter in a worker");
  const { vendor, architecture, description } = adapter.info;
  return ["WebGPU", vendor, architecture, description].filter(Boolean).join(" ");
}
