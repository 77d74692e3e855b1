import { answer, client, type Evaluation } from "../../api/client";
import { Await } from "../../parts/Await";
import { num, Table } from "../../parts/Table";
import { href } from "../../state/address";
import { when } from "../../state/format";
import { useLoad, useWork } from "../../state/load";
import { listEvaluations } from "../../state/service";
import { share } from "./figures";

/** The evaluations that are kept: open one, remove one. */
export function Evaluations() {
  const [load, again] = useLoad(listEvaluations, []);
  const [removed, remove] = useWork<string>();
  const take = async (e: Evaluation) => {
    if (!confirm(`Remove the evaluation of ${when(e.created)} (${e.id})? Its report is lost.`)) return;
    await remove(async (signal) => {
      await answer(client.DELETE("/evaluations/{id}", { params: { path: { id: e.id } }, signal }));
      return `The evaluation ${e.id} is removed.`;
    });
    again();
  };
  return (
    <>
      <h2>Evaluations</h2>
      <Await load={load} what="evaluations">
        {(all) => all.length === 0 ? (
          <p>None is kept yet.</p>
        ) : (
          <Table
            caption={`${all.length} ${all.length === 1 ? "evaluation" : "evaluations"}, the newest first; top-1 of the first target with its Wilson 95 % interval`}
            columns={["evaluation", "state", "data set", "model", "targets", num("top-1"), "remove"]}
            rows={all.map((e) => {
              const first = e.summary?.targets[0];
              return {
                key: e.id,
                cells: [
                  <a href={href("accuracy", [e.id])}>{when(e.created)}</a>,
                  e.progress ? `${e.state}, ${e.progress.done} of ${e.progress.total}` : e.state,
                  <span class="wrap">{e.plan.data_set}</span>,
                  <span class="name">{e.plan.model}</span>,
                  <span class="wrap">{e.plan.targets.join(", ")}</span>,
                  first ? share(first.top1) : "",
                  e.state !== "running" && <button type="button" class="small" aria-label={`Remove ${e.id}`} onClick={() => void take(e)}>remove</button>,
                ],
              };
            })}
          />
        )}
      </Await>
      <Await load={removed} what="the answer">{(text) => <p role="status">{text}</p>}</Await>
    </>
  );
}
