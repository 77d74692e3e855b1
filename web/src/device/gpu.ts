/** What is used of WebGPU (W3C, "WebGPU", section 4.2); the compiler's own library does not describe it yet. */
interface GPUAdapter {
  info: { vendor: string; architecture: string; description: string };
}

interface GPU {
  requestAdapter(): Promise<GPUAdapter | null>;
}

/** The browser's WebGPU, in a page or worker, where it has one. */
export const gpu = (): GPU | undefined => (navigator as { gpu?: GPU }).gpu;
