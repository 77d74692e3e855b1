import { href } from "../state/address";
import { useTargets } from "../state/service";
import { Await } from "./Await";
import { Tick } from "./Choice";

/** The targets that can run here, to tick; all of them until some are chosen. What the first ticked is for stands behind it. */
export function TargetTicks({ chosen, first, onChange }: { chosen: string[] | undefined; first: string; onChange: (chosen: string[]) => void }) {
  const targets = useTargets();
  return (
    <Await load={targets} what="targets">
      {(list) => {
        const available = list.targets.filter((t) => t.available).map((t) => t.target);
        const ordered = [...available].sort((a, b) => Number(b === list.default) - Number(a === list.default));
        const ticked = chosen ?? ordered;
        return (
          <>
            {ordered.map((t) => (
              <Tick key={t} checked={ticked.includes(t)} onChange={(on) => onChange(on ? [...ticked, t] : ticked.filter((c) => c !== t))}>
                {t}{ticked[0] === t && ` (${first})`}
              </Tick>
            ))}
            {available.length < list.targets.length && <p class="soft">{list.targets.length - available.length} more cannot run here: <a href={href("backends")}>why</a>.</p>}
          </>
        );
      }}
    </Await>
  );
}
