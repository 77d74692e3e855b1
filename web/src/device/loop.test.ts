import { expect, test } from "vitest";
import { closedLoop } from "./loop";
import { toPlanes } from "./ort";

/** A runtime whose query takes as many ms as its input says, by a clock of its own. */
function fake() {
  let time = 0;
  const seen: number[] = [];
  return {
    seen,
    now: () => time,
    run: async (x: Float32Array) => {
      seen.push(x[0]!);
      time += x[0]!;
      return new Float32Array(1);
    },
  };
}

const inputs = [1, 2, 3].map((ms) => Float32Array.of(ms));
const turn = { warmCount: 0, minMS: 0, minCount: 0, maxCount: 100, inputs };

test("a turn lasts until time and count are reached", async () => {
  const f = fake();
  expect(await closedLoop(f.run, { ...turn, minMS: 7 }, f.now)).toEqual({ samplesMS: [1, 2, 3, 1], durationMS: 7 });
  expect((await closedLoop(f.run, { ...turn, minMS: 1, minCount: 5 }, f.now)).samplesMS).toEqual([1, 2, 3, 1, 2]);
});

test("a turn ends at the largest count", async () => {
  const f = fake();
  expect((await closedLoop(f.run, { ...turn, minMS: 1e9, maxCount: 2 }, f.now)).samplesMS).toEqual([1, 2]);
});

test("the first queries are not recorded", async () => {
  const f = fake();
  expect(await closedLoop(f.run, { ...turn, warmCount: 2, minCount: 2 }, f.now)).toEqual({ samplesMS: [3, 1], durationMS: 4 });
  expect(f.seen).toEqual([1, 2, 3, 1]);
});

test("an error ends the turn", async () => {
  const broken = () => Promise.reject(new Error("device lost"));
  await expect(closedLoop(broken, { ...turn, minCount: 1 }, () => 0)).rejects.toThrow("device lost");
  await expect(closedLoop(fake().run, { ...turn, minCount: 1, inputs: [] }, () => 0)).rejects.toThrow("without inputs");
});

test("pixels become planes", () => {
  const planes = new Float32Array(6);
  toPlanes(planes, Float32Array.of(1, 2, 3, 4, 5, 6));
  expect([...planes]).toEqual([1, 4, 2, 5, 3, 6]);
});
