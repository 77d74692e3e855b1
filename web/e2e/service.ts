// The real binary, started for a test.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");
export const token = "a-token-for-the-tests-of-the-page";

/** A checkpoint of the tests, in PyTorch's form. */
export const checkpoint = join(root, "model/modeltest/testdata/tiny/official.pth");
export const photograph = join(root, "docs/cat.jpg");

/** The longest name of a model. */
export const long = "m".repeat(64);

/** Text that would run a script where it is taken for markup. */
export const markup = "<img src=x onerror=window.injected=1>";

export interface Service {
  url: string;
  /** The folder of the data set pictures. */
  pictures: string;
  /** Ends the process, as kill -9 does or by its own will, and starts it anew on the same data. */
  restart(signal: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the service on a free port with a data folder of its own. It has a model whose labels are markup, a file that is no model, a data set and one that is gone. */
export async function start(): Promise<Service> {
  const binary = process.env["EDGEVIT_BINARY"] ?? join(root, "bin/api");
  if (!existsSync(binary)) throw new Error(`${binary} is not there: make build`);
  const folder = mkdtempSync(join(tmpdir(), "edgevit-e2e-"));
  const models = join(folder, "models");
  mkdirSync(models);
  copyFileSync(checkpoint, join(models, "marked.pth"));
  writeFileSync(join(models, "marked.json"), JSON.stringify({ labels: Array.from({ length: 10 }, (_, i) => `${markup} ${i}`) }));
  copyFileSync(checkpoint, join(models, `${long}.pth`));
  writeFileSync(join(models, "broken.pth"), "no checkpoint");
  // Three pictures of one cat, two of them where they do not belong.
  for (const file of ["cat/cat.jpg", "dog/cat.jpg", `ship/${markup}.jpg`]) {
    mkdirSync(join(folder, "pictures", file, ".."), { recursive: true });
    copyFileSync(photograph, join(folder, "pictures", file));
  }
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, token);

  let child: ChildProcess | undefined;
  const run = async (listen: string): Promise<string> => {
    const args = ["serve", "--listen", listen, "--data", folder, "--models", models, "--default-model", "demo", "--token-file", tokenFile, "--data-set", `pictures=${join(folder, "pictures")}`, "--data-set", `gone=${join(folder, "gone")}`, "--log-level", "warn"];
    child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    return new Promise((found, failed) => {
      const read = (chunk: Buffer) => {
        said += chunk.toString();
        const url = /on (http:\/\/127\.0\.0\.1:\d+)/.exec(said)?.[1];
        if (url) ready(url).then(() => found(url), failed);
      };
      child?.stdout?.on("data", read);
      child?.stderr?.on("data", read);
      child?.once("exit", (code) => failed(new Error(`the service ended with ${code}: ${said}`)));
    });
  };
  const end = async (signal: NodeJS.Signals) => {
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  };
  const url = await run("127.0.0.1:0");
  return {
    url,
    pictures: join(folder, "pictures"),
    async restart(signal) {
      await end(signal);
      await run(new URL(url).host);
    },
    async stop() {
      await end("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function ready(url: string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const response = await fetch(`${url}/readyz`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${url} did not become ready`);
}
