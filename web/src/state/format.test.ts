import { expect, test } from "vitest";

import { bytes, digits, interval, ms, small, tickText } from "./format";

test.each([
  [0, "0"],
  [5.3512, "5.35"],
  [0.01234, "0.0123"],
  [123.4, "123"],
  [12345.6, "12,346"],
  [-2.5, "-2.50"],
  [1e7, "1.00e+7"],
  [NaN, "NaN"],
])("%d to three digits", (v, text) => expect(digits(v)).toBe(text));

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1500, "1.5 kB"],
  [28_200_000, "28.2 MB"],
  [3.2e9, "3.2 GB"],
  [-4096, "-4.1 kB"],
])("%d bytes", (v, text) => expect(bytes(v)).toBe(text));

test("times, small numbers and ticks", () => {
  expect([ms(0.004), ms(0), ms(5.351)]).toEqual(["under 0.01 ms", "0 ms", "5.35 ms"]);
  expect([small(0), small(1.26e-6)]).toEqual(["0", "1.3e-6"]);
  expect([tickText(0.5, 0.5), tickText(1, 0.5), tickText(2000, 500), tickText(1.005, 0.005), tickText(0.3, 0.1)]).toEqual(["0.5", "1", "2,000", "1.005", "0.3"]);
});

test("an interval has bounds only where both are known", () => {
  expect(interval({ value: 5.35, low: 5.33, high: 5.38 })).toBe("5.35 [5.33 5.38]");
  expect(interval({ value: 5.35, low: 5.33 })).toBe("5.35");
});
