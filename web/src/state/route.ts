// The place in the dashboard, kept behind the # of the address, so that every
// view and run has a link: #/latency/RUN?x=log.
import { href, parseRoute } from "./address";
import { Store } from "./store";
import { takeToken } from "./token";

takeToken();
export const route = new Store(parseRoute(location.hash));
addEventListener("hashchange", () => {
  takeToken(); // a link with a token may be opened where the page already is
  route.value = parseRoute(location.hash);
});

/** Changes the query of the place in view without a new entry in the history. */
export function setQuery(changes: Record<string, string | undefined>): void {
  const { view, rest, query } = route.value;
  const next = Object.fromEntries(query);
  history.replaceState(null, "", href(view, rest, { ...next, ...changes }));
  route.value = parseRoute(location.hash);
}
