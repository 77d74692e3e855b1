// Addresses of places in the dashboard: what stands behind the #.

export interface Route {
  view: string;
  /** What follows the view, decoded. */
  rest: string[];
  query: URLSearchParams;
}

/** Parses the part of an address from its # on. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...rest] = path.split("/").filter(Boolean).map(decode);
  return { view: view || "try", rest, query: new URLSearchParams(query) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a % that a person typed
  }
}

/** The address of a place. Empty values of the query are left out. */
export function href(view: string, rest: string[] = [], query: Record<string, string | undefined> = {}): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) q.set(name, value);
  return `#/${[view, ...rest].map(encodeURIComponent).join("/")}${q.size ? `?${q}` : ""}`;
}
