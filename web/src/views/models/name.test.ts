import { expect, test } from "vitest";

import { servedName } from "./name";

test.each([
  ["EdgeViT XXS.pth", "edgevit-xxs"],
  ["birds.v2.safetensors", "birds.v2"],
  ["../../etc.pt", "etc"],
  ["über.pth", "ber"],
  ["x".repeat(80) + ".pt", "x".repeat(64)],
])("%s", (file, name) => expect(servedName(file)).toBe(name));
