import { expect, test } from "vitest";
import { permutation, random } from "./random";

test("the same for the same seed, another for any other", () => {
  const first = (...args: Parameters<typeof random>) => random(...args).uniform();
  expect(first(5, "order", 3)).toBe(first(5, "order", 3));
  const others = [first(5, "order", 3), first(6, "order", 3), first(5, "inputs", 3), first(5, "order", 4), first(5 + 2 ** 40, "order", 3)];
  expect(new Set(others).size).toBe(others.length);
});

test("uniform and normal numbers have their moments", () => {
  const r = random(1, "inputs");
  const mean = (f: () => number) => Array.from({ length: 20000 }, f).reduce((s, v) => s + v, 0) / 20000;
  expect(mean(r.uniform)).toBeCloseTo(0.5, 1);
  expect(mean(r.normal)).toBeCloseTo(0, 1);
  expect(mean(() => r.normal() ** 2)).toBeCloseTo(1, 1);
});

test("every order is as likely", () => {
  const counts = new Map<string, number>();
  for (let block = 0; block < 1000; block++) {
    const order = permutation(3, random(1, "order", block)).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect([...counts.keys()].sort()).toEqual(["012", "021", "102", "120", "201", "210"]);
  expect(Math.min(...counts.values())).toBeGreaterThan(120);
});
