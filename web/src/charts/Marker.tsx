import { colourOf, markerPath } from "./series";

/** The marker of series i, beside its name. */
export function Marker({ i }: { i: number }) {
  return (
    <svg class="marker" viewBox="-8 -8 16 16" width="14" height="14" aria-hidden="true">
      <path d={markerPath(i, 5)} style={{ fill: `var(${colourOf(i)})` }} />
    </svg>
  );
}
