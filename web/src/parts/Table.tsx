import type { ComponentChildren } from "preact";

export interface Column {
  name: ComponentChildren;
  /** Aligned to the right. */
  number?: boolean;
}

export interface Row {
  key?: string;
  cells: ComponentChildren[];
  class?: string | undefined;
}

/** A table that scrolls in itself where it is too wide, after breaking its cells where it wraps. The first cell of a row is its header. */
export function Table({ caption, columns, rows, wraps }: { caption: string; columns: (string | Column)[]; rows: Row[]; wraps?: boolean }) {
  const all = columns.map((c) => (typeof c === "string" ? { name: c } : c));
  return (
    <div class="table">
      <p class="caption">{caption}</p>
      <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
        <table class={wraps ? "wraps" : ""}>
          <thead>
            <tr>{all.map((c) => <th scope="col" class={c.number ? "number" : ""}>{c.name}</th>)}</tr>
          </thead>
          <tbody>
            {rows.map((r, i) => (
              <tr key={r.key ?? i} class={r.class ?? ""}>
                {r.cells.map((cell, j) =>
                  j === 0
                    ? <th scope="row" class={all[j]?.number ? "number" : ""}>{cell}</th>
                    : <td class={all[j]?.number ? "number" : ""}>{cell}</td>,
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

/** A column of numbers. */
export const num = (name: string): Column => ({ name, number: true });

/** Names and what they are. */
export function Facts({ pairs }: { pairs: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {pairs.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
