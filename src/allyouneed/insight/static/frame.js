// What all pages share: the buttons for theme and language, and the focus after rendering again.
import { shown } from "./data.js";
import { el } from "./draw.js";
import { switchLanguage, t } from "./texts.js";

/** Return a selector that finds the focused element after the view is rendered again. */
export function focusKey(root) {
  const active = document.activeElement;
  if (!root.contains(active)) return null;
  if (active.id) return "#" + active.id;
  const data = [...active.attributes].find((a) => a.name.startsWith("data-"));
  return data ? `[${data.name}="${data.value}"]` : null;
}

export function pageButtons(redraw) {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme ??= isDark() ? "dark" : "light";
  return [
    el("button", { class: "quiet", id: "theme", "aria-label": t("theme"), title: t("theme"), onclick: () => { root.dataset.theme = isDark() ? "light" : "dark"; redraw(); } }, "◐"),
    el("button", { class: "quiet", id: "language", onclick: () => { switchLanguage(); redraw(); } }, t("language"))];
}

/** Explanation of · and ␣, if a label of the sentences, lists of tokens, has one of them. */
export function tokenMarks(sentences) {
  const labels = sentences.flatMap((tokens) => tokens.map((token, i) => shown(token, i === 0)));
  return labels.some((label) => label === "␣" || (label.startsWith("·") && label.length > 1)) ? el("p", { class: "note", id: "token-marks" }, t("tokenMarks")) : null;
}
