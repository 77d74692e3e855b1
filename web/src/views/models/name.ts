/** The served name that a file would have in the models folder: its stem in lower case, other characters "-". */
export function servedName(file: string): string {
  return file.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9._-]/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 64);
}
