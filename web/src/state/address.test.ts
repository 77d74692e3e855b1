import { expect, test } from "vitest";

import { href, parseRoute } from "./address";

test("an address leads back to its place", () => {
  const to = href("history", ["a/b", "ü"], { q: "server onnx", state: undefined, x: "" });
  expect(to).toBe("#/history/a%2Fb/%C3%BC?q=server+onnx");
  const { view, rest, query } = parseRoute(to);
  expect([view, rest, Object.fromEntries(query)]).toEqual(["history", ["a/b", "ü"], { q: "server onnx" }]);
});

test.each([
  ["", "try", []],
  ["#", "try", []],
  ["#/", "try", []],
  ["#scorecard", "scorecard", []],
  ["#/models/50%", "models", ["50%"]],
  ["#/nothing//x?", "nothing", ["x"]],
])("%s", (hash, view, rest) => {
  expect(parseRoute(hash)).toMatchObject({ view, rest });
});
