// What was translated, kept in this browser and nowhere else.

import { say } from "./texts.js";

const MOST = 50;
const section = document.querySelector("#history");
const list = section.querySelector("ul");

const read = () => JSON.parse(localStorage.getItem("history") ?? "[]");

function write(entries) {
  localStorage.setItem("history", JSON.stringify(entries.slice(0, MOST)));
}

const same = (a, b) => a.q === b.q && a.source === b.source && a.target === b.target;

/** entry: {q, source, target, text}. What was only the beginning of it goes. */
export function remember(entry, show) {
  const rest = read().filter((old) => !same(old, entry));
  const grew = rest[0] && rest[0].target === entry.target && entry.q.startsWith(rest[0].q);
  write([entry, ...(grew ? rest.slice(1) : rest)]);
  showHistory(show);
}

/** show(entry): brings an entry back. */
export function showHistory(show) {
  const entries = read();
  section.hidden = entries.length === 0;
  list.replaceChildren(
    ...entries.map((entry) => {
      const item = document.createElement("li");
      const [again, forget] = [document.createElement("button"), document.createElement("button")];
      const translation = document.createElement("span");
      translation.textContent = ` → ${entry.text}`;
      again.append(entry.q, translation);
      again.addEventListener("click", () => show(entry));
      forget.className = "quiet";
      forget.textContent = "×";
      forget.title = say("forgetOne");
      forget.setAttribute("aria-label", say("forgetOne"));
      forget.addEventListener("click", () => {
        write(read().filter((old) => !same(old, entry)));
        showHistory(show);
      });
      item.append(again, forget);
      return item;
    }),
  );
}

export function forgetAll(show) {
  write([]);
  showHistory(show);
}
