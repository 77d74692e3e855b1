import { useEffect, useState } from "preact/hooks";

import type { EvaluationReport, Misclassified } from "../../api/client";
import { Await } from "../../parts/Await";
import { TokenField } from "../../parts/Token";
import { percent } from "../../state/format";
import { useLoad } from "../../state/load";
import { getMisclassified } from "../../state/service";
import { useStore } from "../../state/store";
import { token } from "../../state/token";

const step = 12; // images at a time

/** The mistakes of the first target with the model's own preprocessing. */
export function Gallery({ id, report }: { id: string; report: EvaluationReport }) {
  const [shown, setShown] = useState(step);
  const mayLook = useStore(token) !== "";
  const all = report.misclassified;
  const target = report.preprocess[0]?.results[0]?.target ?? "the first target";
  if (all.length === 0) return report.evaluated > 0 ? <p>{target} has every image right.</p> : null;
  return (
    <>
      <h2>Misclassified by {target}: {all.length}</h2>
      {!mayLook && <TokenField purpose="see the images" />}
      <ul class="gallery">
        {all.slice(0, shown).map((m, n) => (
          <li key={m.path}>
            {mayLook && <Picture id={id} n={n} image={m} />}
            <p><strong>{m.class}</strong>, named <strong class="bad">{m.named || "nothing"}</strong>{m.named && ` with ${percent(m.probability)}`}{m.in_top5 && <span class="soft">, in the top 5</span>}</p>
            <p class="soft"><code>{m.path}</code></p>
          </li>
        ))}
      </ul>
      {shown < all.length && (
        <p class="controls">
          <button type="button" onClick={() => setShown(shown + step)}>Show {Math.min(step, all.length - shown)} more</button>
          <span class="soft">{shown} of {all.length}</span>
        </p>
      )}
    </>
  );
}

function Picture({ id, n, image }: { id: string; n: number; image: Misclassified }) {
  const [file] = useLoad((signal) => getMisclassified(id, n, signal), [id, n]);
  const [url, setURL] = useState<string>();
  const blob = file.state === "ok" ? file.value : undefined;
  useEffect(() => {
    if (!blob) return;
    const made = URL.createObjectURL(blob);
    setURL(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return <Await load={file} what="the image">{() => (url ? <img src={url} alt={`${image.path}: ${image.class}, named ${image.named || "nothing"}`} /> : null)}</Await>;
}
