// The server's token, for what changes something. It comes from the link that
// the server prints (#token=...) or is typed in, and stays in this browser.
import { Store } from "./store";

const key = "edgevit-token";

/** The token, or "" where there is none. */
export const token = new Store(localStorage.getItem(key) ?? "");

export function setToken(value: string): void {
  if (value) localStorage.setItem(key, value);
  else localStorage.removeItem(key);
  token.value = value;
}

/** Takes the token out of the address, so that it is not in the history. */
export function takeToken(): void {
  const match = /^#token=([^&]+)$/.exec(location.hash);
  if (!match?.[1]) return;
  setToken(decodeURIComponent(match[1]));
  history.replaceState(null, "", "#/try");
}
