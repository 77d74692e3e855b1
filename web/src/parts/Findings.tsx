import type { Benchmark } from "../api/client";

type Finding = NonNullable<Benchmark["summary"]>["findings"][number];

/** The rules that a run breaks and what is to be known about it. */
export function Findings({ findings }: { findings: Finding[] }) {
  if (findings.length === 0) return <p>No rule is broken.</p>;
  return (
    <ul class="findings">
      {findings.map((f, i) => (
        <li key={i}>
          {f.invalid ? <span class="bad">✗ does not count</span> : <span class="soft">to know</span>} <strong>{f.rule}</strong>
          {f.label && <> ({f.model}, {f.label})</>}: {f.text}
        </li>
      ))}
    </ul>
  );
}
