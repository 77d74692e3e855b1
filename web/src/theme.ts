// The colours: as the system says, or as chosen on the page.
import { Store } from "./state/store";

export type Theme = "auto" | "light" | "dark";

const key = "edgevit-theme";
const saved = localStorage.getItem(key);

export const theme = new Store<Theme>(saved === "light" || saved === "dark" ? saved : "auto");
/** Counts the changes of colours, so that what is drawn on a canvas is drawn anew. */
export const colours = new Store(0);

function apply(t: Theme): void {
  if (t === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = t;
  colours.value++;
}

export function setTheme(t: Theme): void {
  localStorage.setItem(key, t);
  theme.value = t;
  apply(t);
}

apply(theme.value);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.value++);
