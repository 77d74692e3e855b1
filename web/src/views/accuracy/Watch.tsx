import { useEffect } from "preact/hooks";

import { answer, client, type Evaluation, type JobProgress } from "../../api/client";
import { Await } from "../../parts/Await";
import { Problem } from "../../parts/Problem";
import { Facts } from "../../parts/Table";
import { TokenField } from "../../parts/Token";
import { href } from "../../state/address";
import { useEvents } from "../../state/events";
import { when } from "../../state/format";
import { useLoad, useWork } from "../../state/load";
import { evaluationPath, getEvaluation, getReport } from "../../state/service";
import { useStore } from "../../state/store";
import { token } from "../../state/token";
import { ending } from "./figures";
import { Report } from "./Report";

/** An evaluation as it goes, and its report when it is done. */
export function Watch({ id }: { id: string }) {
  const [load, again] = useLoad((signal) => getEvaluation(id, signal), [id]);
  const running = load.state === "ok" && load.value.state === "running";
  const events = useEvents<JobProgress>(evaluationPath(id), running);
  useEffect(() => {
    if (events.end) again();
  }, [events.end]);
  return (
    <>
      <p><a href={href("accuracy")}>All evaluations</a></p>
      <Await load={load} what="the evaluation">
        {(e) => (
          <>
            <Facts
              pairs={[
                ["data set", e.plan.data_set],
                ["model", <span class="name">{e.plan.model}</span>],
                ["targets", e.plan.targets.join(", ")],
                ["preprocessings", e.plan.preprocess.join(", ")],
                ["threads", e.plan.threads],
                ["begun", when(e.created)],
              ]}
            />
            {e.state === "running" && <Live evaluation={e} at={events.progress.at(-1) ?? e.progress} lost={events.lost} />}
            {e.state === "done" && <Done id={e.id} />}
            {e.state === "failed" && <Problem trouble={{ title: "The evaluation failed", ...(e.error ? { detail: e.error } : {}) }} />}
            {(e.state === "failed" || e.state === "cancelled" || e.state === "interrupted") && <Ended evaluation={e} again={again} />}
          </>
        )}
      </Await>
    </>
  );
}

function Live({ evaluation, at, lost }: { evaluation: Evaluation; at: JobProgress | undefined; lost: boolean }) {
  const [cancelled, cancel] = useWork<unknown>();
  return (
    <>
      <label class="progress">
        <span>{at ? `${at.done} of ${at.total} images` : "beginning"}</span>
        <progress value={at?.done ?? 0} max={at?.total ?? 1} />
      </label>
      <p role="status" class="soft">{lost ? "The connection is gone; trying again …" : "The evaluation goes on when this page is closed."}</p>
      {!useStore(token) && <TokenField purpose="cancel the evaluation" />}
      <p>
        <button type="button" disabled={cancelled.state === "loading" || cancelled.state === "ok"} onClick={() => void cancel((signal) => answer(client.DELETE("/evaluations/{id}", { params: { path: { id: evaluation.id } }, signal })))}>
          Cancel the evaluation
        </button>
      </p>
      <Await load={cancelled} what="the answer">{() => <p role="status">It ends after the image in progress.</p>}</Await>
    </>
  );
}

/** One that ended before it was done: it can go on where something of it is kept. */
function Ended({ evaluation: e, again }: { evaluation: Evaluation; again: () => void }) {
  const [resumed, resume] = useWork<unknown>();
  const mayResume = useStore(token) !== "";
  const goOn = async () => {
    if (await resume((signal) => answer<Evaluation>(client.POST("/evaluations/{id}/resume", { params: { path: { id: e.id } }, signal })))) again();
  };
  if (!e.progress) return <p role="status">{ending(e)} <a href={href("accuracy")}>Start another</a></p>;
  return (
    <>
      <p role="status">{ending(e)}</p>
      {!mayResume && <TokenField purpose="resume the evaluation" />}
      <p><button type="button" class="primary" disabled={resumed.state === "loading"} onClick={() => void goOn()}>Resume the evaluation</button></p>
      <Await load={resumed} what="the answer">{() => null}</Await>
    </>
  );
}

function Done({ id }: { id: string }) {
  const [report] = useLoad((signal) => getReport(id, signal), [id]);
  return (
    <Await load={report} what="the report">
      {(r) => (
        <>
          <p class="controls">
            <a class="button" href={`${evaluationPath(id)}/report`} download={`${id}.json`}>Report as JSON</a>
            <a class="button" href={`${evaluationPath(id)}/report?format=html`}>Report as a page</a>
          </p>
          <Report id={id} report={r} />
        </>
      )}
    </Await>
  );
}
