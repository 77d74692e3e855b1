// Debian's Chromium, and what every page of the tests is held to.
import { existsSync } from "node:fs";

import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { expect } from "vitest";

const executable = process.env["EDGEVIT_CHROMIUM"] ?? "/usr/bin/chromium";

export async function launch(): Promise<Browser> {
  if (!existsSync(executable)) throw new Error(`${executable} is not there: install chromium, or name one in EDGEVIT_CHROMIUM`);
  return chromium.launch({ executablePath: executable, args: ["--no-sandbox"] });
}

// Chromium itself and LiteRT say so of a machine without a GPU.
const harmless = [/^No available adapters\.$/, /^Failed to create default WebGPU device: Error: No GPU adapter found/];

export interface Watched {
  page: Page;
  /** What the console has said that is no plain message, and what the page has thrown. */
  complaints: string[];
  /** Fails where the console was not clean, a request left the server, or text became markup. allowed are answers that the test has provoked. */
  clean(allowed?: RegExp): Promise<void>;
}

/** Opens a page of the service and watches it. */
export async function open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (m) => {
    if (["error", "warning", "assert"].includes(m.type()) && !harmless.some((h) => h.test(m.text()))) complaints.push(`${m.type()}: ${m.text()} (${page.url()})`);
  });
  page.on("pageerror", (err) => complaints.push(`thrown: ${err.message}`));
  page.on("request", (r) => {
    const to = new URL(r.url());
    if (["http:", "https:", "ws:", "wss:"].includes(to.protocol) && to.origin !== new URL(url).origin) complaints.push(`request to ${r.url()}`);
  });
  return {
    page,
    complaints,
    async clean(allowed) {
      expect(complaints.filter((c) => !allowed?.test(c))).toEqual([]);
      expect(await page.evaluate(() => "injected" in window), "text became markup").toBe(false);
    },
  };
}
