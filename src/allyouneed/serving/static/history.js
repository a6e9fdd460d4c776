// Past translations, stored in this browser only.

import { message } from "./messages.js";
import { browserStore } from "./storage.js";

const MAX_ENTRIES = 50;
const section = document.querySelector("#history");
const list = section.querySelector("ul");

const readEntries = () => browserStore.list("history");

function writeEntries(entries) {
  browserStore.set("history", JSON.stringify(entries.slice(0, MAX_ENTRIES)));
}

const isSame = (a, b) => a.q === b.q && a.source === b.source && a.target === b.target;

/** Adds an entry {q, source, target, text}; it replaces the previous one if the user only continued typing. */
export function addToHistory(entry, restore) {
  const entries = readEntries().filter((old) => !isSame(old, entry));
  const isContinued = entries[0] && entries[0].target === entry.target && entry.q.startsWith(entries[0].q);
  writeEntries([entry, ...(isContinued ? entries.slice(1) : entries)]);
  showHistory(restore);
}

/** Shows the list; a click on an entry calls restore(entry). */
export function showHistory(restore) {
  const entries = readEntries();
  section.hidden = entries.length === 0;
  list.replaceChildren(
    ...entries.map((entry) => {
      const item = document.createElement("li");
      const [restoreButton, deleteButton] = [document.createElement("button"), document.createElement("button")];
      const translation = document.createElement("span");
      translation.textContent = ` → ${entry.text}`;
      restoreButton.append(entry.q, translation);
      restoreButton.addEventListener("click", () => restore(entry));
      deleteButton.className = "quiet";
      deleteButton.textContent = "×";
      deleteButton.title = message("deleteEntry");
      deleteButton.setAttribute("aria-label", message("deleteEntry"));
      deleteButton.addEventListener("click", () => {
        writeEntries(readEntries().filter((old) => !isSame(old, entry)));
        showHistory(restore);
      });
      item.append(restoreButton, deleteButton);
      return item;
    }),
  );
}

export function clearHistory(restore) {
  writeEntries([]);
  showHistory(restore);
}
