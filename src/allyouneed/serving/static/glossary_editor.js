// The editor of one dictionary of a glossary: a dialog with a table of entries.

import { glossaries } from "./api.js";
import { $, announce, element, saveAs } from "./dom.js";
import { knownSource, nameOf, primary, selected, served } from "./languages.js";
import { errorMessage, message } from "./messages.js";
import { parseEntries, readText, toCsv, toTsv, withoutHeader } from "./table_text.js";

const dialog = $("#glossary-editor");
const [name, source, target, search, body, moreButton, problem, count, importInput, deleteButton] = [
  "#glossary-name", "#glossary-source", "#glossary-target", "#glossary-search", "#glossary-editor tbody",
  "#more-entries", "#glossary-problem", "#entry-count", "#import-entries", "#delete-glossary",
].map($);
const PAGE = 100; // rows shown at once; a glossary may have many thousands
let entries = []; // [term, translation] of each row
let edited = null; // the dictionary {id, name, source, target}; null for a new one
let limit = PAGE;
let isChanged = false;
let finish; // resolves the promise of editGlossary

/** Opens the editor; resolves with the saved dictionary, {} if it was deleted, or null if nothing was saved. */
export async function editGlossary(dictionary) {
  edited = dictionary;
  showProblem("");
  search.value = "";
  name.value = dictionary?.name ?? "";
  showLanguages();
  try {
    entries = dictionary ? parseEntries(await glossaries.entries(dictionary.id, pair())) : [["", ""]];
  } catch (error) {
    entries = [];
    showProblem(errorMessage(error));
  }
  $("#editor-title").textContent = message(dictionary ? "editGlossary" : "newGlossary");
  $("#shared-glossary").hidden = served.key_required;
  deleteButton.hidden = !dictionary;
  [limit, isChanged] = [PAGE, false];
  showEntries();
  dialog.showModal();
  (dictionary ? search : name).focus();
  return new Promise((resolve) => (finish = resolve));
}

const pair = () => ({ source_lang: source.value, target_lang: target.value });

/** A dictionary keeps its languages; a new one begins with those of the page. */
function showLanguages() {
  const chosen = edited ?? { source: knownSource() ?? served.languages[0]?.code, target: selected().target };
  const codes = edited ? [edited.source] : served.languages.map(({ code }) => code);
  source.replaceChildren(...codes.map((code) => new Option(nameOf(code), code)));
  source.value = codes.includes(chosen.source) ? chosen.source : codes[0];
  showTargets(chosen.target);
  source.disabled = target.disabled = Boolean(edited);
}

function showTargets(chosen) {
  const codes = edited ? [edited.target] : served.languages.find(({ code }) => code === source.value)?.targets ?? [];
  target.replaceChildren(...codes.map((code) => new Option(nameOf(code), code)));
  target.value = codes.includes(chosen) ? chosen : codes[0];
  showHeadings();
}

function showHeadings() {
  $("#term-heading").textContent = message("term", nameOf(source.value));
  $("#translation-heading").textContent = message("termTranslation", nameOf(target.value));
}

/** Shows the entries that contain the searched text. */
function showEntries() {
  const wanted = search.value.trim().toLowerCase();
  const found = entries.filter((entry) => !wanted || entry.some((cell) => cell.toLowerCase().includes(wanted)));
  body.replaceChildren(...found.slice(0, limit).map(row));
  moreButton.hidden = found.length <= limit;
  showCount();
}

function showCount() {
  count.textContent = message("entryCount", entries.filter(([term]) => term).length);
}

function row(entry) {
  const cells = ["#term-heading", "#translation-heading"].map((heading, side) => {
    const input = element("input", { type: "text", value: entry[side], "aria-labelledby": heading.slice(1), spellcheck: false });
    input.addEventListener("input", () => {
      entry[side] = input.value;
      isChanged = true;
      input.removeAttribute("aria-invalid");
      showCount();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (side === 0) line.querySelectorAll("input")[1].focus();
      else if (entry === entries.at(-1)) addEntry();
      else line.nextElementSibling?.querySelector("input").focus();
    });
    return element("td", {}, input);
  });
  const label = message("deleteTerm", entry[0]);
  const remove = element("button", { type: "button", className: "quiet", title: label, "aria-label": label }, "×");
  const line = element("tr", {}, ...cells, element("td", {}, remove));
  remove.addEventListener("click", () => {
    const next = line.nextElementSibling ?? line.previousElementSibling;
    entries.splice(entries.indexOf(entry), 1);
    isChanged = true;
    line.remove();
    showCount();
    (next?.querySelector("input") ?? $("#add-entry")).focus();
  });
  return line;
}

function addEntry() {
  entries.push(["", ""]);
  search.value = "";
  limit = Math.max(limit, entries.length);
  showEntries();
  body.lastElementChild.querySelector("input").focus();
}

function showProblem(text, entry = null, side = 0) {
  problem.textContent = text;
  problem.hidden = !text;
  if (!entry) return;
  search.value = "";
  limit = Math.max(limit, entries.indexOf(entry) + 1);
  showEntries();
  const input = body.children[entries.indexOf(entry)].querySelectorAll("input")[side];
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

/** Removes empty rows, and returns whether the rest can be saved; the first wrong row is shown. */
function check() {
  entries = entries.map((entry) => Object.assign(entry, entry.map((cell) => cell.trim().replaceAll("\t", " "))));
  entries = entries.filter(([term, translation]) => term || translation);
  const seen = new Set();
  for (const entry of entries) {
    if (!entry[0] || !entry[1]) return showProblem(message("cellMissing"), entry, entry[0] ? 1 : 0);
    if (seen.has(entry[0])) return showProblem(message("repeated", entry[0]), entry);
    seen.add(entry[0]);
  }
  if (!name.value.trim()) {
    showProblem(message("nameMissing"));
    return name.focus();
  }
  if (!entries.length) {
    showProblem(message("entriesMissing"));
    return addEntry();
  }
  return true;
}

async function save() {
  if (!check()) return;
  const dictionary = { ...pair(), entries: toTsv(entries), entries_format: "tsv" };
  const title = name.value.trim();
  try {
    let id = edited?.id;
    if (!id) id = (await glossaries.create(title, dictionary)).glossary_id;
    else {
      await glossaries.replace(id, dictionary);
      if (title !== edited.name) await glossaries.rename(id, title);
    }
    announce(message("saved"));
    close({ id, source: primary(source.value), target: primary(target.value) });
  } catch (error) {
    showProblem(errorMessage(error));
  }
}

async function remove() {
  if (!confirm(message("confirmDelete", edited.name))) return;
  try {
    await glossaries.removeDictionary(edited.id, pair());
    const left = (await glossaries.all()).find((each) => each.glossary_id === edited.id);
    if (left && !left.dictionaries.length) await glossaries.remove(edited.id);
    close({});
  } catch (error) {
    showProblem(errorMessage(error));
  }
}

async function importEntries() {
  const [file] = importInput.files;
  importInput.value = "";
  if (!file) return;
  const languages = [primary(source.value), primary(target.value)];
  const imported = withoutHeader(parseEntries(await readText(file)), languages);
  const byTerm = new Map(entries.filter(([term]) => term).map((entry) => [entry[0], entry]));
  for (const entry of imported) byTerm.set(entry[0] || entry, entry); // an imported entry replaces one with the same term
  entries = [...byTerm.values()];
  isChanged = true;
  showEntries();
  showProblem("");
  announce(message("imported", imported.length));
  count.textContent = message("imported", imported.length);
}

function exportEntries(suffix, type, text) {
  const stem = name.value.trim().replace(/[^\p{L}\p{N} _-]/gu, "") || "glossary";
  const kept = entries.filter(([term]) => term);
  saveAs(`${stem}.${suffix}`, new Blob([text(kept)], { type: `${type};charset=utf-8` }));
}

function close(result) {
  dialog.close();
  finish(result);
}

function cancel(event) {
  event.preventDefault();
  if (!isChanged || confirm(message("discard"))) close(null);
}

source.addEventListener("change", () => showTargets(target.value));
target.addEventListener("change", showHeadings);
name.addEventListener("input", () => (isChanged = true));
search.addEventListener("input", () => {
  limit = PAGE;
  showEntries();
});
moreButton.addEventListener("click", () => {
  limit += PAGE;
  showEntries();
});
dialog.addEventListener("cancel", cancel); // the Escape key
$("#cancel-glossary").addEventListener("click", cancel);
$("#add-entry").addEventListener("click", addEntry);
importInput.addEventListener("change", importEntries);
$("#export-tsv").addEventListener("click", () => exportEntries("tsv", "text/tab-separated-values", toTsv));
$("#export-csv").addEventListener("click", () => exportEntries("csv", "text/csv", toCsv));
deleteButton.addEventListener("click", remove);
dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
