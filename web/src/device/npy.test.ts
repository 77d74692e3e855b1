import { expect, test } from "vitest";

import { parseFloats } from "./npy";

function file(header: string, values: number[]): ArrayBuffer {
  const text = new TextEncoder().encode(header.padEnd(54) + "\n");
  const out = new Uint8Array(10 + text.length + 4 * values.length);
  out.set([0x93, ..."NUMPY".split("").map((c) => c.charCodeAt(0)), 1, 0, text.length, 0]);
  out.set(text, 10);
  values.forEach((v, i) => new DataView(out.buffer).setFloat32(10 + text.length + 4 * i, v, true));
  return out.buffer;
}

test("values come in their order", () => {
  expect([...parseFloats(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }", [1, -2, 0.5, 4]))]).toEqual([1, -2, 0.5, 4]);
});

test.each([
  ["text", new TextEncoder().encode("hello, this is text").buffer, "not a NumPy file"],
  ["doubles", file("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", [1, 2]), "not little-endian float32"],
  ["Fortran order", file("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", [1, 2]), "C order"],
  ["a cut file", file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", [1, 2]), "8 bytes of values, the shape [3] has 12"],
])("%s", (_, bytes, message) => expect(() => parseFloats(bytes)).toThrow(message));
