import { useState } from "preact/hooks";

import { useStore } from "../state/store";
import { setToken, token } from "../state/token";

/** Asks for the server's token where this browser has none. */
export function TokenField({ purpose }: { purpose: string }) {
  const value = useStore(token);
  const [typed, setTyped] = useState("");
  if (value) {
    return (
      <p class="soft">
        This browser has a token of the server. <button type="button" class="small" onClick={() => setToken("")}>Forget it</button>
      </p>
    );
  }
  return (
    <form
      class="token"
      onSubmit={(e) => {
        e.preventDefault();
        setToken(typed.trim());
        setTyped("");
      }}
    >
      <label>
        Token of the server, needed to {purpose}
        <input type="password" autocomplete="off" value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
      </label>
      <button disabled={!typed.trim()}>Use it</button>
      <p class="soft">It is in the file that the server was started with, <code>--token-file</code>; <code>make run</code> keeps it in <code>.token</code>.</p>
    </form>
  );
}
