// Light or dark theme: the system's preference unless the user has chosen.

const dark = matchMedia("(prefers-color-scheme: dark)");

export function showTheme() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
}

export function switchTheme() {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  showTheme();
}

dark.addEventListener("change", showTheme);
