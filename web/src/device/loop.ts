import type { Engine } from "./engine";
import type { Measured, Turn } from "./protocol";

/**
 * Sends one query after another, as Go's closedLoop: until both minMS have
 * passed and minCount queries are answered, or maxCount are. A sample is the
 * time of a query by now(), in ms.
 */
export async function closedLoop(run: Engine["run"], t: Turn, now: () => number): Promise<Measured> {
  let next = 0;
  const query = async () => {
    const input = t.inputs[next];
    if (!input) throw new Error("a turn without inputs");
    next = (next + 1) % t.inputs.length;
    const at = now();
    await run(input);
    return now() - at;
  };
  for (let i = 0; i < t.warmCount; i++) await query();
  const samplesMS: number[] = [];
  const begin = now();
  while (samplesMS.length < t.maxCount && (samplesMS.length < t.minCount || now() - begin < t.minMS)) {
    samplesMS.push(await query());
  }
  return { samplesMS, durationMS: now() - begin };
}
