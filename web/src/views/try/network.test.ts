import { expect, test } from "vitest";

import { stages } from "./network";

test("neighbouring nodes of a stage are one run", () => {
  expect(stages(["input", "patch_embed1.proj", "blocks1.0.LocalAgg.conv1", "patch_embed2.proj", "norm", "head"])).toEqual([
    { name: "input", from: 0, to: 1 },
    { name: "stage 1", from: 1, to: 3 },
    { name: "stage 2", from: 3, to: 4 },
    { name: "head", from: 4, to: 6 },
  ]);
});
