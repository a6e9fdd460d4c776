// The translation page: text is translated shortly after it is typed.

import { closeAlternatives, offerAlternatives } from "./alternatives.js";
import { key, languages, pauseBeforeRetry, translate } from "./api.js";
import { acceptFiles, showDocuments } from "./documents.js";
import { $, announce, element } from "./dom.js";
import { chosenGlossary, loadGlossaries, offerGlossaries, showGlossaries } from "./glossaries.js";
import { addToHistory, clearHistory, showHistory } from "./history.js";
import {
  choose, knownSource, reversed, selected, served, setServed, showDetected, showSources, showTargets,
} from "./languages.js";
import { errorMessage, localizePage, message, switchLocale } from "./messages.js";
import { reportItem } from "./reports.js";
import { discardLinks, showPlainTranslation, showTranslation } from "./result.js";
import { browserStore } from "./storage.js";
import { showTheme, switchTheme } from "./theme.js";

const TYPING_PAUSE = 150; // milliseconds without typing before a request is sent
const HISTORY_PAUSE = 1500; // milliseconds before a translation is added to the history
const [text, output] = ["#text", "#translation"].map($);
let translated = { q: "", source: "", target: "", glossary: "" }; // what the displayed translation translates
let requestTimer, historyTimer, pendingRequest;

function showNotice(notice) {
  $("#notice").textContent = notice ?? "";
  $("#notice").hidden = !notice;
}

function showList(section, items) {
  $(section).hidden = items.length === 0;
  $(`${section} ul`).replaceChildren(...items);
}

/** Lists what the user should check; an uncertain language is shown beside the languages instead. */
function showProblems(problems) {
  const others = problems.filter((problem) => !problem.startsWith("The source language is uncertain"));
  showList("#problems", others.map((problem) => reportItem(problem)));
}

function showAlternatives(alternatives) {
  const buttons = alternatives.map((alternative) => {
    const button = element("button", { type: "button" }, alternative);
    button.addEventListener("click", () => {
      const others = [output.textContent, ...alternatives.filter((other) => other !== alternative)];
      showPlainTranslation(alternative);
      showAlternatives(others);
      record(alternative);
    });
    return button;
  });
  showList("#alternatives", buttons.map((button) => element("li", {}, button)));
}

function showCount() {
  const characters = Array.from(text.value).length;
  $("#count").textContent = message("count", characters, served.characters);
  $("#count").classList.toggle("bad", isTooLong());
  $("#clear").hidden = text.value === "";
}

const isTooLong = () => served.characters > 0 && Array.from(text.value).length > served.characters;

function clearResult() {
  showPlainTranslation("");
  showAlternatives([]);
  showProblems([]);
  showDetected(null);
  $("#hint").hidden = $("#look").hidden = true;
  $("#copy").disabled = true;
}

/** Adds the translation to the history unless it changes again soon. */
function record(translation) {
  clearTimeout(historyTimer);
  const { q, target } = translated;
  const entry = { q, source: selected().source, target, text: translation };
  historyTimer = setTimeout(() => addToHistory(entry, restoreEntry), HISTORY_PAUSE);
}

function showResult(q, { target, glossary }, translation) {
  closeAlternatives();
  showNotice(null);
  showDetected(translation.detected);
  translated = { q, source: knownSource(), target, glossary };
  showTranslation(translation);
  showAlternatives(translation.alternatives);
  showProblems(translation.problems);
  announce(translation.text);
  $("#copy").disabled = !translation.text;
  $("#hint").hidden = !translation.sentences.some((sentence) => sentence.words.length);
  $("#look").hidden = served.direct.every(([from, to]) => from !== translated.source || to !== translated.target);
  record(translation.text);
}

async function translateNow(retries = 0) {
  clearTimeout(requestTimer);
  pendingRequest?.abort();
  pendingRequest = new AbortController();
  const { signal } = pendingRequest;
  const [q, languagePair] = [text.value, selected()];
  if (!q.trim() || isTooLong()) {
    output.setAttribute("aria-busy", "false");
    clearResult();
    return showNotice(isTooLong() ? message("tooLong", served.characters) : null);
  }
  output.setAttribute("aria-busy", "true");
  try {
    const options = { ...languagePair, glossary: chosenGlossary() };
    showResult(q, options, await translate(q, options, signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.detected) {
      clearResult();
      showNotice(null);
      return showDetected(error.detected); // a language that is not served
    }
    if (error.status === 404 && chosenGlossary()) return translateWithoutLostGlossary(error);
    showNotice(errorMessage(error));
    const pause = pauseBeforeRetry(error, retries);
    if (pause) requestTimer = setTimeout(() => translateNow(retries + 1), 1000 * pause);
  } finally {
    if (pendingRequest.signal === signal) output.setAttribute("aria-busy", "false");
  }
}

/** Translates again after the chosen glossary was deleted, in another tab or by a restart of the server. */
async function translateWithoutLostGlossary(error) {
  await loadGlossaries();
  if (chosenGlossary()) return showNotice(errorMessage(error));
  await translateNow();
  showNotice(message("glossaryLost"));
}

function scheduleTranslation() {
  clearTimeout(requestTimer);
  clearTimeout(historyTimer);
  requestTimer = setTimeout(translateNow, TYPING_PAUSE);
}

function languagesChanged() {
  showTargets();
  browserStore.set("target", selected().target);
  showGlossaries(browserStore.get("glossary"));
  discardLinks();
  translateNow();
}

function swap() {
  const pair = reversed();
  if (!pair) return;
  text.value = output.textContent || text.value;
  choose(pair.source, pair.target);
  showCount();
  languagesChanged();
}

function restoreEntry(entry) {
  choose(entry.source, entry.target);
  text.value = entry.q;
  showCount();
  languagesChanged();
  text.focus();
}

/** Copies the translation as a selected text. */
function copySelection() {
  getSelection().selectAllChildren(output);
  const onCopy = (event) => {
    event.preventDefault();
    event.clipboardData.setData("text/plain", output.textContent);
  };
  document.addEventListener("copy", onCopy, { once: true });
  document.execCommand("copy");
  getSelection().removeAllRanges();
}

async function copy() {
  const isCopied = navigator.clipboard?.writeText(output.textContent).then(() => true, () => false);
  if (!(await isCopied)) copySelection(); // without TLS, browsers offer no clipboard, except on this machine
  const label = $("#copy span");
  label.textContent = message("copied");
  announce(message("copied"));
  setTimeout(() => (label.textContent = message("copy")), 1500);
}

/** Shows the page once the server has answered. */
async function begin(retries = 0) {
  try {
    setServed(await languages());
  } catch (error) {
    showNotice(errorMessage(error));
    const pause = pauseBeforeRetry(error, retries);
    if (pause) setTimeout(() => begin(retries + 1), 1000 * pause);
    return;
  }
  showNotice(null);
  showPage();
  acceptFiles(() => ({ ...selected(), glossary: chosenGlossary() }));
  if (!served.key_required || key.get()) await loadGlossaries();
  if (text.value) translateNow();
}

function showPage() {
  localizePage();
  showSources();
  showTargets();
  showGlossaries();
  showCount();
  showHistory(restoreEntry);
  showDocuments();
  $("#formats").textContent = served.file_formats.join(" ");
  $("#key-form").hidden = !served.key_required;
}

text.addEventListener("input", () => {
  discardLinks();
  showCount();
  scheduleTranslation();
});
$("#source").addEventListener("change", languagesChanged);
$("#target").addEventListener("change", languagesChanged);
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
  loadGlossaries();
  translateNow();
});
$("#key-form").addEventListener("submit", (event) => event.preventDefault());
$("#look").addEventListener("submit", (event) => {
  const values = { q: text.value, ...selected(), api_key: key.get() };
  for (const [name, value] of Object.entries(values)) event.target.elements[name].value = value;
});

showTheme();
output.classList.add("shaded");
localizePage();
offerAlternatives(
  () => translated,
  (translation, problems) => {
    showAlternatives([]);
    showProblems(problems);
    record(translation);
  },
);
offerGlossaries(() => translateNow());
begin();
