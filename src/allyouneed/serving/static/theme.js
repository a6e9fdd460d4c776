// Light or dark theme: the system's preference unless the user has chosen.

import { browserStore } from "./storage.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

export function showTheme() {
  document.documentElement.dataset.theme = { dark: "dark", light: "light" }[browserStore.get("theme")] ?? (dark.matches ? "dark" : "light");
}

export function switchTheme() {
  browserStore.set("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  showTheme();
}

dark.addEventListener("change", showTheme);
