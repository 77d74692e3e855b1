// What several views ask the service for.
import { answer, ask, type Benchmark, client, type DataSet, type Evaluation, type EvaluationReport, type ModelList, type TargetList } from "../api/client";
import { type Load, useLoad } from "./load";
import { token } from "./token";

export const listModels = (signal?: AbortSignal) => answer<ModelList>(client.GET("/models", signal ? { signal } : {}));
export const listTargets = (signal?: AbortSignal) => answer<TargetList>(client.GET("/backends", signal ? { signal } : {}));

/** How many runs are asked for, which is as many as the service gives. */
export const listed = 1000;

export const listRuns = async (signal?: AbortSignal): Promise<Benchmark[]> =>
  (await answer(client.GET("/benchmarks", { params: { query: { limit: listed } }, ...(signal ? { signal } : {}) }))).benchmarks;

export const getRun = (id: string, signal?: AbortSignal) =>
  answer<Benchmark>(client.GET("/benchmarks/{id}", { params: { path: { id } }, ...(signal ? { signal } : {}) }));

export const listDataSets = async (signal?: AbortSignal): Promise<DataSet[]> => (await answer(client.GET("/datasets", signal ? { signal } : {}))).data_sets;

export const listEvaluations = async (signal?: AbortSignal): Promise<Evaluation[]> =>
  (await answer(client.GET("/evaluations", { params: { query: { limit: listed } }, ...(signal ? { signal } : {}) }))).evaluations;

export const getEvaluation = (id: string, signal?: AbortSignal) =>
  answer<Evaluation>(client.GET("/evaluations/{id}", { params: { path: { id } }, ...(signal ? { signal } : {}) }));

export const evaluationPath = (id: string) => `/evaluations/${encodeURIComponent(id)}`;

export const getReport = async (id: string, signal?: AbortSignal): Promise<EvaluationReport> =>
  (await (await ask(`${evaluationPath(id)}/report`, signal ? { signal } : {})).json()) as EvaluationReport;

/** The file of a misclassified image, for whoever has the token. */
export const getMisclassified = async (id: string, n: number, signal: AbortSignal): Promise<Blob> =>
  (await ask(`${evaluationPath(id)}/images/${n}`, { signal, ...(token.value ? { headers: { Authorization: `Bearer ${token.value}` } } : {}) })).blob();

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
