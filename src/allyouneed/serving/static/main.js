// The translation page: text is translated shortly after it is typed.

import { key, languages, translate } from "./api.js";
import { acceptFiles } from "./files.js";
import { addToHistory, clearHistory, showHistory } from "./history.js";
import { languageName, localizePage, message, switchLocale } from "./messages.js";
import { discardLinks, showPlainTranslation, showTranslation } from "./result.js";
import { showTheme, switchTheme } from "./theme.js";

const TYPING_PAUSE = 150; // milliseconds without typing before a request is sent
const HISTORY_PAUSE = 1500; // milliseconds before a translation is added to the history
const $ = (selector) => document.querySelector(selector);
const [text, source, target, output] = ["#text", "#source", "#target", "#translation"].map($);
let served = { languages: [], names: {}, characters: 0, file_formats: [], key_required: false };
let detected = null; // detected language of the displayed text
let requestTimer, historyTimer, pendingRequest;

function showSources() {
  const auto = new Option(
    detected ? message("detected", languageName(detected, served.names[detected])) : message("auto"),
    "auto",
  );
  const selected = source.value || (served.languages.length > 1 ? "auto" : served.languages[0]?.code);
  source.replaceChildren(auto, ...served.languages.map(({ code, name }) => new Option(languageName(code, name), code)));
  source.value = selected;
}

/** Offers only the languages that the source can be translated to. */
function showTargets() {
  const selected = target.value || localStorage.getItem("target");
  const sources = served.languages.filter(({ code }) => source.value === "auto" || code === source.value);
  const codes = [...new Set(sources.flatMap((language) => language.targets))];
  target.replaceChildren(...codes.map((code) => new Option(languageName(code, served.names[code]), code)));
  target.value = codes.includes(selected) ? selected : codes[0];
}

function showNotice(notice) {
  $("#notice").textContent = notice ?? "";
  $("#notice").hidden = !notice;
}

function showAlternatives(alternatives) {
  $("#alternatives").hidden = alternatives.length === 0;
  $("#alternatives ul").replaceChildren(
    ...alternatives.map((alternative) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.textContent = alternative;
      button.addEventListener("click", () => {
        const others = [output.textContent, ...alternatives.filter((other) => other !== alternative)];
        showPlainTranslation(alternative);
        showAlternatives(others);
      });
      item.append(button);
      return item;
    }),
  );
}

function showCount() {
  $("#count").textContent = message("count", Array.from(text.value).length, served.characters);
  $("#clear").hidden = text.value === "";
}

function clearResult() {
  showPlainTranslation("");
  showAlternatives([]);
  detected = null;
  $("#copy").disabled = true;
  $("#look").hidden = true;
}

async function translateNow() {
  pendingRequest?.abort();
  pendingRequest = new AbortController();
  const { signal } = pendingRequest;
  const q = text.value;
  if (!q.trim()) {
    output.setAttribute("aria-busy", "false");
    clearResult();
    return;
  }
  output.setAttribute("aria-busy", "true");
  try {
    const translation = await translate(q, source.value, target.value, signal);
    showNotice(null);
    showTranslation(translation);
    showAlternatives(translation.alternatives);
    detected = translation.detected?.language ?? null;
    showSources();
    $("#copy").disabled = !translation.text;
    $("#look").hidden = served.direct.every(([from, to]) => from !== (detected ?? source.value) || to !== target.value);
    clearTimeout(historyTimer);
    const entry = { q, source: source.value, target: target.value, text: translation.text };
    historyTimer = setTimeout(() => addToHistory(entry, restoreEntry), HISTORY_PAUSE);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 403) showNotice(message("keyRequired"));
    else showNotice(error.status && error.message ? error.message : message("unreachable"));
  } finally {
    if (pendingRequest.signal === signal) output.setAttribute("aria-busy", "false");
  }
}

function scheduleTranslation() {
  clearTimeout(requestTimer);
  clearTimeout(historyTimer);
  requestTimer = setTimeout(translateNow, TYPING_PAUSE);
}

function languagesChanged() {
  showTargets();
  localStorage.setItem("target", target.value);
  discardLinks();
  translateNow();
}

function swap() {
  const from = source.value === "auto" ? detected ?? served.languages[0]?.code : source.value;
  const reverse = served.languages.find(({ code }) => code === target.value);
  if (!reverse?.targets.includes(from)) return;
  const translation = output.textContent;
  [source.value, text.value] = [target.value, translation || text.value];
  showTargets();
  target.value = from;
  showCount();
  languagesChanged();
}

function restoreEntry(entry) {
  source.value = entry.source;
  showTargets();
  target.value = entry.target;
  text.value = entry.q;
  showCount();
  languagesChanged();
  text.focus();
}

async function copy() {
  await navigator.clipboard.writeText(output.textContent);
  const label = $("#copy span");
  label.textContent = message("copied");
  setTimeout(() => (label.textContent = message("copy")), 1500);
}

function showPage() {
  localizePage();
  showSources();
  showTargets();
  showCount();
  showHistory(restoreEntry);
  $("#formats").textContent = served.file_formats.join(" ");
  $("#key-form").hidden = !served.key_required;
}

text.addEventListener("input", () => {
  discardLinks();
  showCount();
  scheduleTranslation();
});
source.addEventListener("change", languagesChanged);
target.addEventListener("change", languagesChanged);
$("#swap").addEventListener("click", swap);
$("#copy").addEventListener("click", copy);
$("#clear").addEventListener("click", () => {
  text.value = "";
  showCount();
  translateNow();
  text.focus();
});
$("#shade").addEventListener("change", (event) => output.classList.toggle("shaded", event.target.checked));
$("#theme").addEventListener("click", switchTheme);
$("#locale").addEventListener("click", () => {
  switchLocale();
  showPage();
  if (text.value) translateNow();
});
$("#clear-history").addEventListener("click", () => clearHistory(restoreEntry));
$("#key").value = key.get();
$("#key").addEventListener("change", (event) => {
  key.set(event.target.value.trim());
  translateNow();
});
$("#key-form").addEventListener("submit", (event) => event.preventDefault());
$("#look").addEventListener("submit", (event) => {
  const values = { q: text.value, source: source.value, target: target.value, api_key: key.get() };
  for (const [name, value] of Object.entries(values)) event.target.elements[name].value = value;
});

showTheme();
output.classList.add("shaded");
acceptFiles(() => ({ source: source.value, target: target.value }));
localizePage();
try {
  served = await languages();
  showPage();
} catch {
  showNotice(message("unreachable"));
}
