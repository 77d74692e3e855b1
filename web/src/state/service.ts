// What several views ask the service for.
import { answer, type Benchmark, client, type ModelList, type TargetList } from "../api/client";
import { type Load, useLoad } from "./load";

export const listModels = (signal?: AbortSignal) => answer<ModelList>(client.GET("/models", signal ? { signal } : {}));
export const listTargets = (signal?: AbortSignal) => answer<TargetList>(client.GET("/backends", signal ? { signal } : {}));

/** How many runs are asked for, which is as many as the service gives. */
export const listed = 1000;

export const listRuns = async (signal?: AbortSignal): Promise<Benchmark[]> =>
  (await answer(client.GET("/benchmarks", { params: { query: { limit: listed } }, ...(signal ? { signal } : {}) }))).benchmarks;

export const getRun = (id: string, signal?: AbortSignal) =>
  answer<Benchmark>(client.GET("/benchmarks/{id}", { params: { path: { id } }, ...(signal ? { signal } : {}) }));

/** The untrained models, for timing only. */
export const randomModels = ["random:xxs", "random:xs", "random:s"];

/** Names of the models to choose from, those that can be used and the untrained ones. */
export function choices(list: ModelList): string[] {
  const names = list.models.filter((m) => m.state !== "failed" && m.name).map((m) => m.name);
  return [...names, ...randomModels.filter((n) => !names.includes(n))];
}

export const useModels = (): Load<ModelList> => useLoad(listModels, [])[0];
export const useTargets = (): Load<TargetList> => useLoad(listTargets, [])[0];
export const useRuns = (): [Load<Benchmark[]>, () => void] => useLoad(listRuns, []);
