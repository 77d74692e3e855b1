import { gpuName, type Engine } from "./engine";
import type { LoadOptions } from "./protocol";

/** What is used of @litertjs/core. */
interface LiteRT {
  loadLiteRt(path: string, options: { threads: boolean }): Promise<unknown>;
  loadAndCompile(model: Uint8Array, options: object): Promise<CompiledModel>;
  supportsFeature(feature: "relaxedSimd"): Promise<boolean>;
  Tensor: new (data: Float32Array, shape: number[]) => Tensor;
}

interface CompiledModel {
  options: { accelerator: string };
  isFullyAccelerated: boolean;
  run(input: Tensor): Promise<Tensor[]>;
  delete(): void;
}

interface Tensor {
  data(): Promise<Float32Array<ArrayBuffer>>;
  delete(): void;
}

/** What LiteRT's loader and its Emscripten script look for in the global scope. */
interface LoaderScope {
  module?: { exports: unknown };
  exports?: object;
  ModuleFactory?: unknown;
  Module?: { locateFile(file: string): string; mainScriptUrlOrBlob: string; print(line: string): void; printErr(line: string): void };
  importScripts: (url: string) => void;
}

/**
 * Loads LiteRT, whose CPU code is XNNPACK. On WebGPU it computes in fp32, as
 * the other targets do; a model that does not run there whole is an error.
 */
export async function loadLiteRT(o: LoadOptions): Promise<Engine> {
  const folder = new URL("litert/", o.base).href;
  const litert = (await import(/* @vite-ignore */ `${folder}index.js`)) as LiteRT;
  const version = await packageVersion(`${folder}package.json`);
  const relaxed = await litert.supportsFeature("relaxedSimd");
  const threaded = o.threads > 1;
  const variant = threaded ? "threaded_" : relaxed ? "" : "compat_";
  await importScript(`${folder}litert_wasm_${variant}internal.js`);
  await litert.loadLiteRt(folder, { threads: threaded });

  const webgpu = o.device === "webgpu";
  let model: CompiledModel | undefined;
  return {
    threads: o.threads,
    provider: webgpu ? await gpuName() : `XNNPACK, WebAssembly${relaxed ? " with relaxed SIMD" : ""}`,
    library: "@litertjs/core",
    version,
    async open(bytes) {
      model?.delete();
      model = undefined;
      model = await litert.loadAndCompile(bytes, {
        accelerator: o.device,
        cpuOptions: { numThreads: o.threads },
        gpuOptions: { precision: "fp32" },
      });
      if (webgpu && !(model.options.accelerator === "webgpu" && model.isFullyAccelerated)) {
        throw new Error("LiteRT cannot run all of the model on WebGPU");
      }
    },
    async run(input) {
      if (!model) throw new Error("no open session");
      const side = Math.sqrt(input.length / 3);
      const tensor = new litert.Tensor(input, [1, side, side, 3]);
      try {
        const [result] = await model.run(tensor);
        if (!result) throw new Error("the model has no output");
        try {
          return await result.data();
        } finally {
          result.delete();
        }
      } finally {
        tensor.delete();
      }
    },
  };
}

/**
 * Imports LiteRT's Emscripten script. LiteRT itself would call importScripts,
 * which throws in a module worker. The script hands its factory to
 * module.exports where there is one; after that LiteRT has nothing left to
 * import. It cannot see its own address, so it is told where its files are.
 */
async function importScript(url: string): Promise<void> {
  const scope = globalThis as unknown as LoaderScope;
  scope.module = { exports: undefined };
  scope.exports = {};
  await import(/* @vite-ignore */ url);
  scope.ModuleFactory = scope.module.exports;
  delete scope.module;
  delete scope.exports;
  const log = (line: string) => {
    if (!/^(INFO|VERBOSE|WARNING|[IVW][0-9]{4} )/.test(line)) console.warn(line); // the rest is a dozen lines for each session
  };
  scope.Module = { locateFile: (file) => new URL(file, url).href, mainScriptUrlOrBlob: url, print: log, printErr: log };
  scope.importScripts = () => {};
}

/** The version in a package.json: the module itself does not tell. */
async function packageVersion(url: string): Promise<string> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const { version } = (await response.json()) as { version: string };
  return version;
}
