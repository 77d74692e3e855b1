import { gpuName, type Engine } from "./engine";
import type { LoadOptions } from "./protocol";

/** What is used of onnxruntime-web. */
interface Ort {
  env: { versions: { web?: string }; wasm: { wasmPaths?: string; numThreads?: number }; logLevel?: string };
  InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  Tensor: new (type: "float32", data: Float32Array, dims: number[]) => Tensor;
}

interface Tensor {
  data: unknown;
  dispose(): void;
}

interface Session {
  inputNames: readonly string[];
  outputNames: readonly string[];
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/**
 * Loads ONNX Runtime. The build for WebGPU is twice as large, so each device
 * has its own. On WebGPU a model that does not run there whole is an error: a
 * part on the CPU would be measured as if it were not.
 */
export async function loadOrt(o: LoadOptions): Promise<Engine> {
  const webgpu = o.device === "webgpu";
  const url = new URL(webgpu ? "ort/ort.webgpu.min.mjs" : "ort/ort.wasm.min.mjs", o.base).href;
  const ort = (await import(/* @vite-ignore */ url)) as Ort;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = new URL("ort/", o.base).href;
  ort.env.wasm.numThreads = o.threads;
  const provider = webgpu ? await gpuName() : "CPU, WebAssembly";

  let session: Session | undefined;
  let planes = new Float32Array(0);
  return {
    // Without shared memory ONNX Runtime falls back to one thread when it opens a session.
    get threads() {
      return webgpu ? 1 : (ort.env.wasm.numThreads ?? 1);
    },
    provider,
    library: "onnxruntime-web",
    version: ort.env.versions.web ?? "",
    async open(model) {
      await session?.release();
      session = undefined;
      session = await ort.InferenceSession.create(model, {
        executionProviders: [webgpu ? "webgpu" : "wasm"],
        graphOptimizationLevel: "all",
        ...(webgpu && { extra: { session: { disable_cpu_ep_fallback: "1" } } }),
      });
    },
    async run(input) {
      const [name, output] = [session?.inputNames[0], session?.outputNames[0]];
      if (!session || !name || !output) throw new Error("no open session");
      if (planes.length !== input.length) planes = new Float32Array(input.length);
      toPlanes(planes, input);
      const side = Math.sqrt(input.length / 3);
      const results = await session.run({ [name]: new ort.Tensor("float32", planes, [1, 3, side, side]) });
      const tensor = results[output];
      if (!(tensor?.data instanceof Float32Array)) throw new Error(`the output ${output} is not float32`);
      const logits = new Float32Array(tensor.data);
      tensor.dispose();
      return logits;
    },
  };
}

/** Turns NHWC [H W 3] into NCHW [3 H W], which the exported ONNX file takes. */
export function toPlanes(planes: Float32Array, pixels: Float32Array): void {
  const n = pixels.length / 3;
  for (let i = 0, k = 0; i < n; i++, k += 3) {
    planes[i] = pixels[k]!;
    planes[n + i] = pixels[k + 1]!;
    planes[2 * n + i] = pixels[k + 2]!;
  }
}
