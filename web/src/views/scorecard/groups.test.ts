import { expect, test } from "vitest";

import { groupsOf } from "./groups";

const of = (model: string, label: string) => ({ model, label });
const subjects = [of("demo", "purego"), of("demo", "onnx"), of("birds", "purego")];
const shown = (peers?: string[], all = subjects) => groupsOf(all, peers).map((g) => [g.title, g.model, g.subjects.map(g.name)]);

test("each model is a group of its targets", () =>
  expect(shown()).toEqual([["demo", "demo", ["purego", "onnx"]], ["birds", "birds", ["purego"]]]));

test("with peers there is one group, whose names say which model", () =>
  expect(shown(["timm"], [...subjects, of("timm", "onnx")])).toEqual([
    ["demo, birds beside timm", undefined, ["demo on purego", "demo on onnx", "birds on purego", "timm on onnx"]],
  ]));

test("times are related to the first subject, or each model's own", () => {
  const references = (all: typeof subjects, peers: string[]) => groupsOf(all, peers).map((g) => g.reference);
  expect(references(subjects, [])).toEqual(["purego", "purego"]);
  expect(references([of("demo", "purego"), of("timm", "onnx")], ["timm"])).toEqual(["demo on purego"]);
  expect(references([...subjects, of("timm", "onnx")], ["timm"])).toEqual(["the model's first target"]);
});

test("peers alone are no model of the service", () => expect(shown(["timm"], [of("timm", "onnx")])).toEqual([["timm", undefined, ["timm on onnx"]]]));
