// The choice of a glossary. Each dictionary, one language pair of a glossary, is an item of the list.

import { glossaries } from "./api.js";
import { $ } from "./dom.js";
import { editGlossary } from "./glossary_editor.js";
import { AUTO, choose, nameOf, primary, selected } from "./languages.js";
import { message } from "./messages.js";
import { browserStore } from "./storage.js";

const select = $("#glossary");
const editButton = $("#edit-glossary");
let dictionaries = []; // {id, name, source, target, count} of all glossaries
const valueOf = ({ id, source, target }) => [id, source, target].join(" ");

/** The id of the chosen glossary, or "". */
export const chosenGlossary = () => chosenDictionary()?.id ?? "";

const chosenDictionary = () => dictionaries.find((each) => valueOf(each) === select.value);

/** Loads the list from the server; without access it stays empty. */
export async function loadGlossaries(chosen = browserStore.get("glossary")) {
  const found = await glossaries.all().catch(() => []);
  dictionaries = found.flatMap(({ glossary_id: id, name, dictionaries: each }) =>
    each.map(({ source_lang: source, target_lang: target, entry_count: count }) => ({ id, name, source, target, count })),
  );
  showGlossaries(chosen);
}

/** Offers the dictionaries of the chosen languages, and of every source language while it is detected. */
export function showGlossaries(chosen = select.value) {
  const { source, target } = selected();
  const fitting = dictionaries.filter(
    (each) => each.target === primary(target) && (source === AUTO || each.source === primary(source)),
  );
  const label = ({ name, source: from, target: to }) => `${name} (${nameOf(from)} → ${nameOf(to)})`;
  const options = fitting.map((each) => new Option(label(each), valueOf(each)));
  select.replaceChildren(new Option(message("noGlossary"), ""), ...options);
  select.value = source !== AUTO && fitting.some((each) => valueOf(each) === chosen) ? chosen : "";
  editButton.disabled = !select.value;
}

/** Connects the controls; onChange is called when another glossary applies, or its entries have changed. */
export function offerGlossaries(onChange) {
  select.addEventListener("change", () => {
    const { source, target } = selected();
    const chosen = chosenDictionary();
    browserStore.set("glossary", select.value);
    if (chosen && source === AUTO) choose(chosen.source, target); // a glossary applies to one source language
    showGlossaries(chosen ? valueOf(chosen) : "");
    onChange();
  });
  const edit = async (dictionary) => {
    const saved = await editGlossary(dictionary);
    if (!saved) return;
    if (saved.target) choose(saved.source, saved.target);
    const value = saved.target ? valueOf(saved) : "";
    browserStore.set("glossary", value);
    await loadGlossaries(value);
    onChange();
  };
  editButton.addEventListener("click", () => edit(chosenDictionary()));
  $("#new-glossary").addEventListener("click", () => edit(null));
}
