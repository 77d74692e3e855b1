// The client of the service, with the types of api/openapi.yaml.
import createClient from "openapi-fetch";

import { setToken, token } from "../state/token";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Agreement = Schemas["Agreement"];
export type Benchmark = Schemas["Benchmark"];
export type BenchmarkPlan = Schemas["BenchmarkPlan"];
export type BenchmarkSubject = Schemas["BenchmarkSubject"];
export type Classification = Schemas["Classification"];
export type Comparison = Schemas["Comparison"];
export type DataSet = Schemas["DataSet"];
export type Difference = Schemas["Difference"];
export type Evaluation = Schemas["Evaluation"];
export type EvaluationReport = Schemas["EvaluationReport"];
export type Interval = Schemas["Interval"];
export type JobProgress = Schemas["JobProgress"];
export type JobState = Schemas["JobState"];
export type Layers = Schemas["LayerComparison"];
export type Misclassified = Schemas["Misclassified"];
export type Model = Schemas["Model"];
export type ModelList = Schemas["ModelList"];
export type Pair = Schemas["Pair"];
export type Preprocess = Schemas["Preprocess"];
export type PreprocessReport = Schemas["PreprocessReport"];
export type Problem = Schemas["Problem"];
export type Proportion = Schemas["Proportion"];
export type Reading = Schemas["Reading"];
export type Target = Schemas["Target"];
export type TargetList = Schemas["TargetList"];
export type TargetResult = Schemas["TargetResult"];

/** What is shown of an error; only problems of the service have all fields. */
export type Trouble = Partial<Problem> & { title: string };

/** A request that was not answered as hoped. */
export class Failure extends Error {
  constructor(readonly trouble: Trouble) {
    super(trouble.detail ? `${trouble.title}: ${trouble.detail}` : trouble.title);
  }
}

/** The Trouble of anything that was thrown. */
export function troubleOf(err: unknown): Trouble {
  if (err instanceof Failure) return err.trouble;
  return { title: "This page has a fault", detail: String(err) };
}

const isAborted = (err: unknown) => err instanceof DOMException && err.name === "AbortError";
export { isAborted };

export const client = createClient<paths>({
  baseUrl: location.origin,
  querySerializer: { array: { style: "form", explode: false } },
  headers: { Accept: "application/json, application/problem+json" },
});
client.use({
  onRequest({ request }) {
    if (request.method !== "GET" && request.method !== "HEAD" && token.value) request.headers.set("Authorization", `Bearer ${token.value}`);
    return request;
  },
  // A token that the server does not know is asked for again.
  onResponse({ response }) {
    if (response.status === 401) setToken("");
  },
});

const noAnswer = () => new Failure({ title: "The server does not answer", detail: "It may have stopped, or the connection is gone." });

/** Fetches what is no JSON; the error is a Failure. */
export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (err) {
    throw isAborted(err) ? err : noAnswer();
  }
  if (response.ok) return response;
  const problem: unknown = await response.json().catch(() => null);
  throw new Failure(isProblem(problem) ? problem : { title: `Unexpected answer, status ${response.status}` });
}

/** Returns the data of an answer, or throws a Failure. */
export async function answer<T>(pending: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let got;
  try {
    got = await pending;
  } catch (err) {
    if (isAborted(err)) throw err;
    if (err instanceof SyntaxError) throw new Failure({ title: "Unexpected answer", detail: "It is not JSON." });
    throw noAnswer();
  }
  if (got.error !== undefined || !got.response.ok) {
    const problem = got.error;
    if (isProblem(problem)) throw new Failure(problem);
    throw new Failure({ title: `Unexpected answer, status ${got.response.status}`, detail: "It has no explanation." });
  }
  return got.data as T;
}

function isProblem(v: unknown): v is Problem {
  return typeof v === "object" && v !== null && "title" in v && typeof v.title === "string";
}

/** A body that is sent as it is: the schema has no type for bytes. */
export const raw = (body: Blob) => ({ body: body as unknown as never, bodySerializer: () => body, headers: { "Content-Type": "application/octet-stream" } });
