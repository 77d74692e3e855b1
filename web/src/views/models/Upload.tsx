import { useState } from "preact/hooks";

import { Failure, type Model, type Problem as ProblemBody } from "../../api/client";
import { Await } from "../../parts/Await";
import { TokenField } from "../../parts/Token";
import { useWork } from "../../state/load";
import { href } from "../../state/address";
import { token } from "../../state/token";
import { servedName } from "./name";

/** Sends a checkpoint and tells how far it is, which fetch cannot. */
function send(file: File, name: string, signal: AbortSignal, onProgress: (share: number) => void): Promise<Model> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/models?name=${encodeURIComponent(name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (token.value) request.setRequestHeader("Authorization", `Bearer ${token.value}`);
    request.responseType = "json";
    request.upload.onprogress = (e) => e.lengthComputable && onProgress(e.loaded / e.total);
    request.onload = () => {
      if (request.status === 201) resolve(request.response as Model);
      else reject(new Failure((request.response as ProblemBody | null) ?? { title: `Unexpected answer, status ${request.status}` }));
    };
    request.onerror = () => reject(new Failure({ title: "The upload was cut", detail: "The server has refused it or has stopped; nothing is kept. Is the token right, and the file within the server's bound?" }));
    signal.addEventListener("abort", () => (request.abort(), reject(new DOMException("aborted", "AbortError"))));
    request.send(file);
  });
}

/** Adds a checkpoint to the server's models. */
export function Upload({ onDone }: { onDone: () => void }) {
  const [file, setFile] = useState<File>();
  const [name, setName] = useState("");
  const [sent, setSent] = useState(0);
  const [load, run, stop] = useWork<Model>();
  return (
    <section aria-label="Add a model">
      <h2>Add a model</h2>
      <TokenField purpose="add or remove a model" />
      <form
        class="panel"
        onSubmit={(e) => {
          e.preventDefault();
          if (!file) return;
          setSent(0);
          void run((signal) => send(file, name, signal, setSent)).then((m) => m && onDone());
        }}
      >
        <div class="controls">
          <label class="field">
            Checkpoint: .pth, .pt or .safetensors
            <input
              type="file"
              accept=".pth,.pt,.safetensors"
              required
              onChange={(e) => {
                const f = e.currentTarget.files?.[0];
                setFile(f);
                if (f) setName(servedName(f.name));
              }}
            />
          </label>
          <label class="field">
            Name to serve it by
            <input value={name} required pattern="[a-z0-9][a-z0-9._\-]{0,63}" title="1 to 64 of a-z, 0-9, . _ -, the first a letter or digit" onInput={(e) => setName(e.currentTarget.value)} />
          </label>
        </div>
        <p class="controls">
          <button class="primary" disabled={!file || load.state === "loading"}>Upload</button>
          {load.state === "loading" && <button type="button" onClick={stop}>Stop</button>}
        </p>
        <p class="soft">It is read as data: nothing that a pickle names is called. Nothing is overwritten.</p>
      </form>
      {load.state === "loading" && (
        <label class="progress">
          <span>{sent < 1 ? `${Math.round(100 * sent)} % sent` : "Sent; the server checks it …"}</span>
          <progress value={sent} max={1} />
        </label>
      )}
      {load.state !== "loading" && <Await load={load} what="">{(m) => <p role="status"><a href={href("models", [m.name])}>{m.name}</a> is there.</p>}</Await>}
    </section>
  );
}
