import type { ModelList, TargetList } from "../../api/client";
import { Await } from "../../parts/Await";
import { Verdict } from "../../parts/PairTable";
import { Table } from "../../parts/Table";
import { useLoad } from "../../state/load";
import { href } from "../../state/address";
import { listModels, listTargets } from "../../state/service";
import { workersText } from "./workers";

/** Every target that this build knows: what can run here, and what cannot and why. */
export function BackendsView() {
  const [load, again] = useLoad(async (signal): Promise<[TargetList, ModelList]> => Promise.all([listTargets(signal), listModels(signal)]), []);
  return (
    <>
      <p class="lead">A target is a backend on a device at a precision: <code>backend[:device][:precision]</code>.</p>
      <Await load={load} what="targets">
        {([targets, models]) => {
          const open = (target: string) => models.models.flatMap((m) => (m.sessions ?? []).filter((s) => s.target === target).map((s) => ({ model: m.name, ...s })));
          return (
            <Table
              caption={`${targets.targets.filter((t) => t.available).length} of ${targets.targets.length} targets can run on this server now`}
              columns={["target", "available", "why not, and what to do", "open with", "runs on", "worker processes"]}
              rows={targets.targets.map((t) => {
                const sessions = open(t.target);
                return {
                  key: t.target,
                  cells: [
                    <>{t.target}{t.default && " (default)"}</>,
                    <Verdict good={t.available} words={["yes", "no"]} />,
                    <span class="long">{t.reason ?? ""}</span>,
                    sessions.map((s, i) => <>{i > 0 && ", "}<a href={href("models", [s.model])}>{s.model}</a></>),
                    sessions[0] ? [sessions[0].provider, sessions[0].library_version].filter(Boolean).join(", ") : "",
                    t.workers ? workersText(t.workers) : "",
                  ],
                };
              })}
            />
          );
        }}
      </Await>
      <p><button type="button" onClick={again}>Look again</button></p>
      <p class="soft">This browser can be a target too: <a href={href("device")}>this device</a>.</p>
    </>
  );
}
