import type { Trouble } from "../api/client";

/** What went wrong, and where there is more about it. */
export function Problem({ trouble }: { trouble: Trouble }) {
  const explained = trouble.type?.startsWith("/problems/") ? trouble.type : undefined;
  return (
    <section class="problem" role="alert">
      <p><strong>{trouble.title}</strong></p>
      {trouble.detail && <p>{trouble.detail}</p>}
      {trouble.findings && <ul>{trouble.findings.map((f) => <li>{f}</li>)}</ul>}
      {(explained || trouble.request_id) && (
        <p class="soft">
          {explained && <a href={explained}>What to do</a>}
          {explained && trouble.request_id && " · "}
          {trouble.request_id && <>request <code>{trouble.request_id}</code></>}
        </p>
      )}
    </section>
  );
}
