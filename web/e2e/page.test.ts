import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { launch, open } from "./browser";
import { checkpoint, long, markup, photograph, type Service, start, token } from "./service";

let service: Service;
let browser: Browser;

beforeAll(async () => {
  [service, browser] = await Promise.all([start(), launch()]);
});
afterAll(async () => {
  await browser?.close();
  await service?.stop();
});

const withToken = async (page: Page) => page.goto(`${service.url}/#token=${token}`);
const say = (page: Page, text: string | RegExp) => page.getByText(text).first().waitFor();

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails on what axe finds on the page as it is. */
async function accessible(page: Page): Promise<void> {
  // By the driver, since the page's policy lets no script in.
  await page.evaluate(`${axe}; undefined`);
  const found = await page.evaluate(async () => {
    const result = await (window as unknown as { axe: { run: () => Promise<{ violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe.run();
    return result.violations.map((v) => `${v.impact} ${v.id}: ${v.nodes[0]?.html.slice(0, 200)} ${v.nodes[0]?.failureSummary}`);
  });
  expect(found, page.url()).toEqual([]);
}

interface Run { id: string; state: string; origin: string; plan: { targets: string[] } }
const runs = async (): Promise<Run[]> => ((await (await fetch(`${service.url}/benchmarks`)).json()) as { benchmarks: Run[] }).benchmarks;

/** A short run of purego, by the API. */
async function measured(): Promise<Run> {
  while ((await runs()).some((r) => r.state === "running")) await new Promise((resolve) => setTimeout(resolve, 200));
  const response = await fetch(`${service.url}/benchmarks?targets=purego,purego:int8&min_duration_ms=200&blocks=6&min_count=100`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  expect(response.status).toBe(202);
  const { id } = (await response.json()) as Run;
  for (;;) {
    const run = (await runs()).find((r) => r.id === id);
    if (run?.state !== "running") return run as Run;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface Evaluation { id: string; state: string }

/** An evaluation of the pictures, by the API. */
async function evaluated(query = ""): Promise<Evaluation> {
  const response = await fetch(`${service.url}/evaluations?data_set=pictures&targets=purego,purego:int8&preprocess=nearest${query}`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  expect(response.status).toBe(202);
  let e = (await response.json()) as Evaluation;
  while (e.state === "running") {
    await new Promise((resolve) => setTimeout(resolve, 50));
    e = (await (await fetch(`${service.url}/evaluations/${e.id}`)).json()) as Evaluation;
  }
  return e;
}

describe("try it", () => {
  test("a dropped photograph: three runtimes answer and agree, layer by layer", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/#/try?layers=1`);
    const data = readFileSync(photograph).toString("base64");
    const transfer = await page.evaluateHandle((base64) => {
      const t = new DataTransfer();
      t.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], "cat.jpg", { type: "image/jpeg" }));
      return t;
    }, data);
    await page.dispatchEvent(".drop", "drop", { dataTransfer: transfer });
    await say(page, /targets answered\. All \d agree/);
    for (const target of ["purego", "onnx", "tflite"]) {
      const card = page.locator(".card").filter({ has: page.getByRole("heading", { name: target, exact: true }) });
      expect(await card.locator(".classes li").first().innerText(), target).toMatch(/^cat/);
    }
    const pair = page.getByRole("row").filter({ hasText: "purego / onnx" });
    expect(await pair.innerText()).toContain("agrees");
    await say(page, "onnx: no node is under 80 dB");
    expect(await page.locator("svg[aria-label^='Signal-to-noise'] path").count()).toBeGreaterThan(100);
    await clean();
  });

  test("a pasted photograph and a sample", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/`);
    await page.evaluate(async () => {
      const blob = await (await fetch("samples/cat.jpg")).blob();
      const t = new DataTransfer();
      t.items.add(new File([blob], "pasted.jpg", { type: "image/jpeg" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: t, bubbles: true }));
    });
    await say(page, /targets answered/);
    await page.getByRole("button", { name: "rocket" }).click();
    await page.waitForURL(/sample=rocket/);
    await say(page, "jpeg, 420 × 280, 15.5 kB");
    await clean();
  });

  test("a file that is no image is named as such, and the page goes on", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/`);
    const input = page.locator(".drop-zone input");
    await input.setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("not a picture") });
    await say(page, "Not a known image format");
    await input.setInputFiles(photograph);
    await say(page, /targets answered/);
    await clean(/status of 415/);
  });

  test("a refused camera and no camera are said in words", async () => {
    const { page, clean } = await open(browser, service.url, { permissions: [] });
    await page.goto(`${service.url}/`);
    await page.getByRole("button", { name: "Camera" }).click();
    await say(page, "No picture from the camera");
    await say(page, /Choose a file|choose a file/);
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.getByRole("button", { name: "Close the camera" }).click();
    await page.getByRole("button", { name: "Camera" }).click();
    await say(page, /was not allowed to use it/);
    await clean();
  });

  test("a server that is gone is said, whatever is asked", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/`);
    await page.getByLabel("Model").waitFor();
    await page.route("**/*", (route) => route.abort("connectionrefused"));
    await page.getByRole("button", { name: "coffee" }).click();
    await say(page, "The server does not answer");
    await page.goto(`${service.url}/#/device`);
    await page.goto(`${service.url}/#/agreement`);
    await page.getByRole("button", { name: "Compare the samples" }).click();
    await page.locator(".problem").filter({ hasText: "does not answer" }).last().waitFor();
    await clean(/ERR_CONNECTION_REFUSED/);
  });

  test("labels and names that look like markup stay text", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/#/try?model=marked&sample=cat`);
    await page.locator(".card .name").first().waitFor();
    expect(await page.locator(".card .name").first().innerText()).toContain(markup);
    await page.goto(`${service.url}/#/models/marked`);
    await page.getByText("10 labels").click();
    expect(await page.locator(".labels li").first().innerText()).toBe(`${markup} 0`);
    await page.goto(`${service.url}/#/models/${encodeURIComponent(markup)}`);
    await say(page, "Unknown model");
    await clean(/status of 404/);
  });
});

test("a link with the token works in a new tab and in an open one, and leaves the address", async () => {
  const { page, clean } = await open(browser, service.url);
  for (const written of [token, encodeURIComponent(token) + "&from=mail", "%E0%A4%A"]) {
    await page.goto(`${service.url}/#token=${written}`);
    await page.waitForURL(/#\/try$/);
    await page.getByRole("heading", { level: 1, name: "Try it" }).waitFor();
  }
  expect(await page.evaluate(() => localStorage.getItem("edgevit-token"))).toBe("%E0%A4%A");
  await clean();
});

describe("benchmarks", () => {
  test("start one, watch it, reload in the middle, see it finish and stay after a restart", async () => {
    const { page, clean } = await open(browser, service.url);
    await withToken(page);
    expect(page.url(), "the token stays out of the address").not.toContain(token);
    await page.goto(`${service.url}/#/benchmark`);
    await page.getByLabel("purego:bf16").uncheck();
    await page.getByLabel("tflite:plain").uncheck();
    await page.getByLabel("Seconds for each target").fill("2");
    await page.getByLabel("Blocks").fill("20");
    await page.getByRole("button", { name: "Start the benchmark" }).click();
    await page.waitForURL(/#\/benchmark\/[0-9a-z-]+/);
    const id = page.url().split("/").at(-1) ?? "";
    await say(page, /^[1-9]\d* of 80 turns/);
    await page.reload();
    await say(page, /^[1-9]\d* of 80 turns/);
    expect(await page.locator(".u-legend").first().innerText()).toMatch(/purego|onnx|tflite/);
    await accessible(page);
    await page.getByText("The run is done.").waitFor({ timeout: 90_000 });
    await page.getByRole("table").filter({ hasText: "purego:int8" }).first().waitFor();
    await clean();

    await service.restart("SIGKILL");
    await page.goto(`${service.url}/#/history`);
    await page.getByRole("row").filter({ hasText: "purego, onnx" }).first().waitFor();
    expect((await runs()).find((r) => r.id === id)).toMatchObject({ state: "done", origin: "api", plan: { targets: ["purego", "onnx", "purego:int8", "tflite"] } });
    await page.goto(`${service.url}/#/latency/${id}`);
    await say(page, /ECDF/);
    await clean(/ERR_CONNECTION_REFUSED/);
  });

  test("compare two runs; a bundle goes out and comes back; a wrong one does not", async () => {
    const first = await measured(), second = await measured();
    const { page, clean } = await open(browser, service.url);
    await withToken(page);
    await page.goto(`${service.url}/#/history`);
    for (const { id } of [first, second]) await page.getByRole("checkbox", { name: new RegExp(id) }).check();
    await page.getByRole("link", { name: "Compare the two" }).click();
    await page.getByRole("rowheader", { name: "demo, purego:int8" }).first().waitFor();
    await say(page, "What else differs");

    await page.goto(`${service.url}/#/history`);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: `Bundle of ${second.id}` }).click()]);
    const bundle = readFileSync(await download.path());
    page.once("dialog", (d) => void d.accept());
    await page.getByRole("button", { name: `Remove ${second.id}` }).click();
    await say(page, `The run ${second.id} is removed.`);
    const input = page.locator("input[type=file]");
    await input.setInputFiles({ name: "run.json.gz", mimeType: "application/gzip", buffer: bundle });
    await say(page, `The run ${second.id} is there.`);

    const forged = JSON.parse(gunzipSync(bundle).toString()) as { id: string; subjects: { slices: { samples_ms: number[] }[] }[] };
    forged.id += "-x";
    const before = (await runs()).length;
    const wrong: [string, Buffer, RegExp][] = [
      ["text", Buffer.from("hello"), /not a gzip file/],
      ["cut", bundle.subarray(0, bundle.length / 2), /damaged/],
      ["negative", gzipSync(JSON.stringify(forged).replace(/"samples_ms":\[/, '"samples_ms":[-1,')), /a time in ms is -1/],
      ["NaN", gzipSync(JSON.stringify(forged).replace(/"samples_ms":\[/, '"samples_ms":[NaN,')), /invalid character/],
      ["ten million", gzipSync(JSON.stringify(forged).replace(/"samples_ms":\[/, `"samples_ms":[${"1,".repeat(1e7)}`)), /more than 1000000 samples|samples in one slice|unpacks to more/],
      ["the same again", bundle, /already there/],
    ];
    for (const [name, buffer, message] of wrong) {
      await input.setInputFiles({ name: `${name}.json.gz`, mimeType: "application/gzip", buffer });
      await page.locator(".problem").filter({ hasText: message }).waitFor();
    }
    expect((await runs()).length, "nothing is stored").toBe(before);
    await clean(/status of (409|422)/);
  });

  test("without the token nothing changes, and the page says what to do", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/#/benchmark`);
    await page.getByRole("button", { name: "Start the benchmark" }).click();
    await say(page, "Token required");
    await page.getByLabel(/Token of the server/).fill("a-wrong-token-of-length");
    await page.getByRole("button", { name: "Use it" }).click();
    await page.getByRole("button", { name: "Start the benchmark" }).click();
    await page.locator(".problem").filter({ hasText: /oken/ }).waitFor();
    await clean(/status of 401/);
  });
});

test("this device: both runtimes agree with purego; the measurement is kept as the browser's", async () => {
  const { page, clean } = await open(browser, service.url);
  const fetched: string[] = [];
  page.on("request", (r) => fetched.push(new URL(r.url()).pathname));
  await withToken(page);
  await page.goto(`${service.url}/#/device`);
  await page.getByLabel("litert-web", { exact: true }).waitFor();
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  expect(fetched.filter((p) => p.endsWith(".wasm")), "nothing is fetched before it is asked for").toEqual([]);
  await page.getByRole("button", { name: "check the cat" }).click();
  await page.getByText(/^purego says cat\. \d of \d runners? agrees? with it/).or(page.getByText(/runners agree with it/)).first().waitFor({ timeout: 90_000 });
  for (const runner of ["ort-web", "ort-web:threads", "litert-web", "litert-web:threads"]) {
    const row = page.getByRole("region", { name: /^Logits of each runner/ }).getByRole("row").filter({ has: page.getByRole("rowheader", { name: runner, exact: true }) });
    expect(await row.innerText(), runner).toMatch(/agrees\s+cat/);
  }
  await accessible(page);
  // Chromium's decoder is libjpeg-turbo, which the server's gives the pixels of.
  await page.getByText(/^The input that this browser makes .* is the server's\.$/).waitFor();

  await page.getByLabel("ort-web:threads").uncheck();
  await page.getByLabel("litert-web:threads").uncheck();
  await page.getByLabel("Seconds for each runner").fill("1");
  await page.getByLabel("Blocks").fill("6");
  await page.getByRole("button", { name: "Measure this device" }).click();
  await page.getByRole("button", { name: "Keep it on the server" }).click({ timeout: 90_000 });
  await page.getByRole("link", { name: "its scorecard" }).click();
  await page.locator(".tag", { hasText: "measured by a browser" }).first().waitFor();
  const kept = (await runs()).find((r) => r.origin === "browser");
  expect(kept).toMatchObject({ state: "done", plan: { targets: ["ort-web", "litert-web"] } });
  await page.goto(`${service.url}/#/history?q=browser`);
  await page.getByRole("row").filter({ hasText: "measured by a browser" }).first().waitFor();
  await clean();
});

test("another program's model stands in one chart and one table with the service's own", async () => {
  const real = await measured();
  const run = (await (await fetch(`${service.url}/benchmarks/${real.id}`)).json()) as { plan: { peers?: string[] }; summary: { subjects: { model: string; label: string }[] } };
  run.plan.peers = ["timm"];
  for (const s of run.summary.subjects.slice(1)) [s.model, s.label] = ["timm", "onnx"];
  const { page, clean } = await open(browser, service.url);
  await page.route(`**/benchmarks/${real.id}`, (route) => route.fulfill({ json: run }));
  await page.goto(`${service.url}/#/scorecard/${real.id}`);
  const card = page.getByRole("region", { name: "demo beside timm", exact: true });
  await card.waitFor();
  expect(await page.locator("h2 a").count()).toBe(0);
  expect(await card.getByRole("table").count()).toBe(1);
  for (const name of ["demo on purego", "timm on onnx"]) await card.getByRole("rowheader", { name }).waitFor();
  expect(await card.getByRole("img").first().getAttribute("aria-label")).toMatch(/demo on purego: .*timm on onnx: /);
  await accessible(page);
  await clean();
});

test("the worker processes of a target", async () => {
  const { page, clean } = await open(browser, service.url);
  const list = (await (await fetch(`${service.url}/backends`)).json()) as { targets: { target: string; workers?: object }[] };
  for (const t of list.targets) if (t.target === "onnx") t.workers = { running: 0, restarting: 1, restarts: 3, restart_in_ms: 1500 };
  await page.route("**/backends", (route) => route.fulfill({ json: list }));
  await page.goto(`${service.url}/#/backends`);
  await page.getByRole("row").filter({ hasText: "0 running, 1 restarting in 2 s, 3 restarts" }).waitFor();
  await accessible(page);
  await clean();
});

test("upload a checkpoint, compare, export, remove", async () => {
  const { page, clean } = await open(browser, service.url);
  await withToken(page);
  await page.goto(`${service.url}/#/models`);
  await say(page, "broken.pth");
  const upload = page.getByLabel("Checkpoint: .pth, .pt or .safetensors");
  await upload.setInputFiles({ name: "Wrong.pth", mimeType: "application/octet-stream", buffer: Buffer.from("no checkpoint") });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.locator(".problem").waitFor();
  await upload.setInputFiles(checkpoint);
  await page.getByLabel("Name to serve it by").fill("uploaded");
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByRole("status").getByRole("link", { name: "uploaded" }).click();
  await say(page, "official.pth".replace("official", "uploaded"));
  for (const format of ["safetensors", "onnx", "tflite"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: format, exact: true }).click()]);
    expect(download.suggestedFilename()).toBe(`uploaded.${format}`);
    expect(readFileSync(await download.path()).length).toBeGreaterThan(1000);
  }
  await page.getByRole("link", { name: "Try it" }).last().click();
  await page.getByRole("button", { name: "cat", exact: false }).first().click();
  await say(page, /targets answered\. All \d agree|pairs differ/);
  await page.goto(`${service.url}/#/models/uploaded`);
  page.once("dialog", (d) => void d.accept());
  await page.getByRole("button", { name: "Remove the model" }).click();
  await page.waitForURL(/#\/models$/);
  expect(((await (await fetch(`${service.url}/models`)).json()) as { models: { name: string }[] }).models.map((m) => m.name)).not.toContain("uploaded");
  await clean(/status of (4\d\d)/);
});

test("agreement over the samples, with accuracy where the class is known", async () => {
  const { page, clean } = await open(browser, service.url);
  await page.goto(`${service.url}/#/agreement`);
  await page.getByRole("button", { name: "Compare the samples" }).click();
  await say(page, "3 pictures compared on demo.");
  await page.getByRole("region", { name: /^Smallest signal-to-noise/ }).getByRole("row").filter({ hasText: "onnx" }).first().waitFor();
  await say(page, /Accuracy on the 1 pictures? whose class is known/);
  await accessible(page);
  await clean();
});

describe("accuracy", () => {
  test("start one, see it finish, look at the mistakes, remove it", async () => {
    const { page, clean } = await open(browser, service.url);
    await withToken(page);
    await page.goto(`${service.url}/#/accuracy`);
    await page.getByRole("option", { name: "pictures: 3 images of 3 classes" }).waitFor({ state: "attached" });
    expect(await page.getByRole("option", { name: /^gone: no such file/ }).isDisabled()).toBe(true);
    await page.getByLabel("Data set").selectOption("pictures");
    await page.getByLabel("nearest").check();
    expect(await page.getByLabel("Model").inputValue()).toBe("demo");
    for (const name of [/^onnx$/, /^tflite$/]) expect(await page.getByRole("checkbox", { name }).isChecked(), String(name)).toBe(true);
    for (const name of ["tflite:plain", "purego:int8"]) expect(await page.getByRole("checkbox", { name, exact: true }).isChecked(), name).toBe(false);
    await page.getByRole("checkbox", { name: "purego:int8", exact: true }).check();
    await page.getByRole("button", { name: "Start the evaluation" }).click();
    await page.waitForURL(/#\/accuracy\/[0-9a-z-]+/);
    await say(page, "3 of 3 images evaluated on 10 classes.");
    const accuracy = page.getByRole("region", { name: /^Accuracy with Wilson/ });
    expect(await accuracy.getByRole("row").nth(1).innerText()).toMatch(/^reference\s+purego\s+33\.3 % \[\d+\.\d % \d+\.\d %\], 1 of 3/);
    for (const target of ["onnx", "tflite", "purego:int8"]) await accuracy.getByRole("row").filter({ hasText: target }).first().waitFor();
    await page.getByRole("region", { name: /^Preprocessings against/ }).getByRole("row").filter({ hasText: "nearest" }).first().waitFor();
    await page.getByRole("region", { name: /^Agreement of the targets, reference/ }).getByRole("row").filter({ hasText: "purego / onnx" }).first().waitFor();
    await page.getByRole("region", { name: /confusions/ }).getByRole("row").filter({ hasText: "dog" }).waitFor();
    await page.getByRole("heading", { name: "Misclassified by purego: 2" }).waitFor();
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      const wide = await page.evaluate((boxes) => [document.documentElement, ...(boxes ? document.querySelectorAll(".scroll:has(.wraps)") : [])].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.getAttribute("aria-label") ?? "the page"), width === 1280);
      expect(wide, `too wide at ${width} px`).toEqual([]);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
    for (const name of ["dog/cat.jpg", `ship/${markup}.jpg`]) {
      const picture = page.getByRole("img", { name: `${name}: ${name.split("/")[0]}, named cat`, exact: true });
      await picture.waitFor();
      expect(await picture.evaluate((el: HTMLImageElement) => el.decode().then(() => el.naturalWidth)), name).toBe(300);
    }
    await accessible(page);
    await page.getByRole("link", { name: "Report as a page" }).click();
    await page.getByRole("heading", { name: "demo" }).waitFor();
    expect(await page.evaluate(() => getComputedStyle(document.querySelector("table") as Element).borderCollapse), "its style is let in").toBe("collapse");
    await page.goBack();
    const id = page.url().split("/").at(-1) ?? "";
    await page.getByRole("link", { name: "All evaluations" }).click();
    page.once("dialog", (d) => void d.accept());
    await page.getByRole("button", { name: `Remove ${id}` }).click();
    await say(page, `The evaluation ${id} is removed.`);
    await clean();
  });

  test("one that is running shows how far it is, and can be cancelled", async () => {
    const { page, clean } = await open(browser, service.url);
    await withToken(page);
    const plan = { model: "demo", data_set: "pictures", targets: ["purego"], preprocess: ["reference"], threads: 1 };
    let cancelled = false;
    await page.route("**/evaluations/one", (route) => {
      if (route.request().method() === "DELETE") {
        cancelled = route.request().headers()["authorization"] === `Bearer ${token}`;
        return route.fulfill({ status: 202 });
      }
      return route.fulfill({ json: { id: "one", created: "2026-03-01T12:00:00Z", state: "running", plan, progress: { done: 40, total: 200 } } });
    });
    await page.route("**/evaluations/one/events", (route) => route.fulfill({ contentType: "text/event-stream", body: 'id: 1\nevent: progress\ndata: {"done":57,"total":200}\n\n' }));
    await page.goto(`${service.url}/#/accuracy/one`);
    await say(page, "57 of 200 images");
    await accessible(page);
    await page.getByRole("button", { name: "Cancel the evaluation" }).click();
    await say(page, "It ends after the image in progress.");
    expect(cancelled).toBe(true);
    await clean();
  });

  test("one that was interrupted says how far it came, and can be resumed", async () => {
    const { page, clean } = await open(browser, service.url);
    await withToken(page);
    const plan = { model: "demo", data_set: "pictures", targets: ["purego"], preprocess: ["reference"], threads: 1 };
    let state = "interrupted";
    const one = () => ({ id: "one", created: "2026-03-01T12:00:00Z", state, plan, progress: { done: 40, total: 200 } });
    await page.route("**/evaluations/one", (route) => route.fulfill({ json: one() }));
    await page.route("**/evaluations/one/events", (route) => route.fulfill({ contentType: "text/event-stream", body: ": still running\n\n" }));
    await page.route("**/evaluations/one/resume", (route) => {
      if (route.request().headers()["authorization"] === `Bearer ${token}`) state = "running";
      return route.fulfill({ status: 202, json: one() });
    });
    await page.goto(`${service.url}/#/accuracy/one`);
    await say(page, "The evaluation was interrupted after 40 of 200 images.");
    await accessible(page);
    await page.getByRole("button", { name: "Resume the evaluation" }).click();
    await page.getByRole("button", { name: "Cancel the evaluation" }).waitFor();
    expect(state).toBe("running");
    await clean();
  });

  test("without the token there are figures but no images, and nothing begins", async () => {
    const { id } = await evaluated();
    const { page, clean } = await open(browser, service.url);
    const asked: string[] = [];
    page.on("request", (r) => asked.push(new URL(r.url()).pathname));
    await page.goto(`${service.url}/#/accuracy/${id}`);
    await page.getByLabel("Token of the server, needed to see the images").waitFor();
    expect(asked.filter((p) => p.includes("/images/"))).toEqual([]);
    await page.goto(`${service.url}/#/accuracy`);
    await page.getByRole("option", { name: /^pictures/ }).waitFor({ state: "attached" });
    await page.getByRole("button", { name: "Start the evaluation" }).click();
    await say(page, "Token required");
    await clean(/status of 401/);
  });

  test("an image that is gone or another is said to be", async () => {
    const { id } = await evaluated();
    const file = join(service.pictures, "dog/cat.jpg");
    rmSync(file);
    copyFileSync(join(import.meta.dirname, "../public/samples/rocket.jpg"), join(service.pictures, `ship/${markup}.jpg`));
    try {
      const { page, clean } = await open(browser, service.url);
      await withToken(page);
      await page.goto(`${service.url}/#/accuracy/${id}`);
      await page.locator(".gallery .problem").filter({ hasText: "Image gone" }).waitFor();
      await page.locator(".gallery .problem").filter({ hasText: "is no longer the file that was evaluated" }).waitFor();
      await clean(/status of (404|409)/);
    } finally {
      copyFileSync(photograph, file);
      copyFileSync(photograph, join(service.pictures, `ship/${markup}.jpg`));
    }
  });
});

describe("every view", () => {
  const views: [string, (id: string) => string, RegExp][] = [
    ["try it", () => "#/try?sample=cat&layers=1&repeat=20", /targets answered/],
    ["benchmark", () => "#/benchmark", /Start the benchmark/],
    ["scorecard", (id) => `#/scorecard/${id}`, /figures with 95 % intervals/],
    ["latency", (id) => `#/latency/${id}`, /percentiles of the raw samples/],
    ["scaling", () => "#/scaling", /Measure a sweep/],
    ["memory, start, energy", (id) => `#/resources/${id}`, /memory, start and energy/],
    ["agreement", () => "#/agreement", /Compare the samples/],
    ["accuracy", () => "#/accuracy", /Start the evaluation/],
    ["an evaluation", () => `#/accuracy/${evaluation}`, /Misclassified by purego/],
    ["history", () => "#/history", /the newest first/],
    ["two runs", (id) => `#/history/${id}/${id}`, /What else differs/],
    ["this device", () => "#/device", /ways to run a model/],
    ["models", () => "#/models", /Models of this server/],
    ["a model", () => "#/models/demo", /Stage by stage/],
    ["a model with a long name", () => `#/models/${long}`, /Stage by stage/],
    ["a long name, tried", () => `#/try?model=${long}&sample=cat`, /targets answered/],
    ["backends", () => "#/backends", /targets can run on this server now/],
    ["nothing", () => "#/nothing", /names no view/],
  ];
  let id = "", evaluation = "";
  beforeAll(async () => {
    id = (await measured()).id;
    evaluation = (await evaluated()).id;
  });

  test.each(views)("%s: axe, 360 px, light and dark, a clean console", async (_, hash, shown) => {
    for (const colorScheme of ["light", "dark"] as const) {
      const { page, clean } = await open(browser, service.url, { viewport: { width: 360, height: 740 }, colorScheme });
      await withToken(page);
      await page.goto(`${service.url}/${hash(id)}`);
      await say(page, shown);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), "scrolls sideways").toBeLessThanOrEqual(360);
      await accessible(page);
      await clean();
    }
  });

  test("the keyboard reaches the views and tells where they are", async () => {
    const { page, clean } = await open(browser, service.url);
    await page.goto(`${service.url}/`);
    await page.getByRole("heading", { level: 1, name: "Try it" }).waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the content");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
    const link = page.getByRole("link", { name: "Backends" });
    await link.focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/#\/backends/);
    await page.waitForFunction(() => document.activeElement?.textContent === "Backends" && document.activeElement.tagName === "H1");
    expect(await page.title()).toBe("Backends · EdgeViT");
    await clean();
  });

  test("a first load has 300 kB of script at most", async () => {
    const { page, clean } = await open(browser, service.url);
    let bytes = 0;
    page.on("response", async (r) => {
      if (r.request().resourceType() === "script") bytes += (await r.body()).length;
    });
    await page.goto(`${service.url}/`);
    await page.waitForLoadState("networkidle");
    await page.goto(`${service.url}/#/device`);
    await say(page, /ways to run a model/);
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThanOrEqual(300_000);
    await clean();
  });
});
