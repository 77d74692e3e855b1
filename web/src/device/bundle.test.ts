import { expect, test } from "vitest";
import { gzipBundle, newID, printable, systemOf, type Bundle } from "./bundle";

test("an id has Go's form", () => {
  expect(newID(new Date("2026-03-04T05:06:07.890Z"))).toMatch(/^20260304-050607-[0-9a-f]{8}$/);
});

test("text becomes what a bundle may hold", () => {
  expect(printable("fine\n\tλ → 🎉")).toBe("fine\n\tλ → 🎉");
  expect(printable("a\u0000b\u00a0c\u200bd\r")).toBe("a b c d ");
  expect(printable("\ud800")).toBe(" ");
  const long = printable("é".repeat(4000));
  expect(new TextEncoder().encode(long)).toHaveLength(4096);
});

test.each([
  ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36", "linux"],
  ["Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36", "android"],
  ["Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15", "ios"],
  ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "darwin"],
  ["Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:150.0) Gecko/20100101 Firefox/150.0", "windows"],
  ["Chrome OS", "linux"],
  ["macOS", "darwin"],
  ["", ""],
])("system of %s", (text, want) => {
  expect(systemOf(text)).toBe(want);
});

test("the file is gzipped JSON", async () => {
  const bundle = { schema: 2, id: "x" } as Bundle;
  const file = await gzipBundle(bundle);
  expect(file.type).toBe("application/gzip");
  expect(await new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).json()).toEqual(bundle);
});
