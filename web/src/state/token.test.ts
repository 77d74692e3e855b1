import { beforeAll, expect, test, vi } from "vitest";

let tokenOf: (hash: string) => string | undefined;
beforeAll(async () => {
  vi.stubGlobal("localStorage", { getItem: () => null });
  ({ tokenOf } = await import("./token"));
});

test.each([
  ["#token=abc", "abc"],
  ["#/token=abc", "abc"],
  ["#token=a%2Bb&from=mail", "a+b"],
  ["#token=%E0%A4%A", "%E0%A4%A"],
  ["#token=", undefined],
  ["#/try?token=abc", undefined],
  ["", undefined],
])("%s", (hash, want) => expect(tokenOf(hash)).toBe(want));
