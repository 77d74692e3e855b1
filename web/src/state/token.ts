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

/** The token in the part of an address from its # on, or undefined. */
export function tokenOf(hash: string): string | undefined {
  const written = /^#\/?token=([^&?]+)/.exec(hash)?.[1];
  if (!written) return undefined;
  try {
    return decodeURIComponent(written);
  } catch {
    return written; // a % that stands for itself
  }
}

/** Takes the token out of the address, so that it is not in the history. It says whether there was one. */
export function takeToken(): boolean {
  const found = tokenOf(location.hash);
  if (found === undefined) return false;
  setToken(found);
  history.replaceState(null, "", "#/try");
  return true;
}
