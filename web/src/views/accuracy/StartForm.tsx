import { useState } from "preact/hooks";

import { answer, client, type Evaluation } from "../../api/client";
import { Await } from "../../parts/Await";
import { Choice, NumberField, Tick } from "../../parts/Choice";
import { TargetTicks } from "../../parts/TargetTicks";
import { TokenField } from "../../parts/Token";
import { href } from "../../state/address";
import { useLoad, useWork } from "../../state/load";
import { listDataSets, useModels, useTargets } from "../../state/service";
import { about, eachRuntime, evaluable } from "./figures";

const variants = [
  { name: "bicubic", text: "bicubic" },
  { name: "bilinear", text: "bilinear" },
  { name: "lanczos", text: "lanczos" },
  { name: "nearest", text: "nearest" },
  { name: "no-antialias", text: "no-antialias: as OpenCV and TensorFlow make images smaller" },
  { name: "center-squash", text: "center-squash: both sides resized, no crop" },
];

/** What is to be evaluated, and on what. */
export function StartForm() {
  const models = useModels();
  const available = useTargets();
  const [sets] = useLoad(listDataSets, []);
  const [started, start] = useWork<Evaluation>();
  const [chosenModel, setModel] = useState<string>();
  const [chosenSet, setSet] = useState<string>();
  const [targets, setTargets] = useState<string[]>();
  const [preprocess, setPreprocess] = useState<string[]>([]);
  const [threads, setThreads] = useState(0);
  const [limit, setLimit] = useState(0);
  const readable = sets.state === "ok" ? sets.value.filter((d) => d.error === undefined) : [];
  const ticked = targets ?? (available.state === "ok" ? eachRuntime(available.value) : undefined);
  const model = chosenModel ?? (models.state === "ok" ? evaluable(models.value).first : "");
  const set = chosenSet ?? readable[0]?.name ?? "";

  const submit = async () => {
    const query = {
      data_set: set,
      ...(model ? { model } : {}),
      ...(ticked ? { targets: ticked } : {}),
      ...(preprocess.length ? { preprocess } : {}),
      ...(threads > 0 ? { threads } : {}),
      ...(limit > 0 ? { limit } : {}),
    };
    const evaluation = await start((signal) => answer<Evaluation>(client.POST("/evaluations", { params: { query }, signal })));
    if (evaluation) location.hash = href("accuracy", [evaluation.id]);
  };

  return (
    <>
      <p class="lead">How often a model is right on images whose class is known, target by target and with other preprocessings. Whoever runs the server names the data sets.</p>
      <Await load={sets} what="data sets">
        {(all) => all.length === 0 ? (
          <p class="note">This server has no data set. Start it with <code>--data-set NAME=DIR</code>, a folder with a folder of images for each class; or compare pictures of your own under <a href={href("agreement")}>Agreement</a>.</p>
        ) : (
          <>
            <TokenField purpose="start an evaluation" />
            <form
              class="panel"
              onSubmit={(e) => {
                e.preventDefault();
                void submit();
              }}
            >
              <div class="controls">
                <Choice label="Data set" value={set} options={all.map((d) => ({ value: d.name, text: about(d), disabled: d.error !== undefined }))} onChange={setSet} />
                <Await load={models} what="models">
                  {(list) => <Choice label="Model" value={model} options={evaluable(list).names} onChange={setModel} />}
                </Await>
                <NumberField label="Threads (0: the server's)" value={threads} min={0} max={4096} onChange={setThreads} />
                <NumberField label="Images at most (0: all)" value={limit} min={0} onChange={setLimit} />
              </div>
              <fieldset>
                <legend>Targets, the first ticked is the one whose mistakes are shown</legend>
                <TargetTicks chosen={ticked} first="its mistakes" onChange={setTargets} />
              </fieldset>
              <fieldset>
                <legend>Preprocessings beside the model's own</legend>
                {variants.map((v) => (
                  <Tick key={v.name} checked={preprocess.includes(v.name)} onChange={(on) => setPreprocess(on ? [...preprocess, v.name] : preprocess.filter((p) => p !== v.name))}>
                    {v.text}
                  </Tick>
                ))}
              </fieldset>
              <p class="controls">
                <button class="primary" disabled={started.state === "loading" || ticked?.length === 0 || !set}>Start the evaluation</button>
                <span class="soft">Requests are answered meanwhile, each behind an inference and a few decodings.</span>
              </p>
            </form>
          </>
        )}
      </Await>
      <Await load={started} what="the evaluation">{() => null}</Await>
    </>
  );
}
