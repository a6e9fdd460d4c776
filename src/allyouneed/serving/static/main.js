// The page: what is typed is translated after a moment, and everything else follows from that.

import { key, languages, translate } from "./api.js";
import { acceptFiles } from "./files.js";
import { forgetAll, remember, showHistory } from "./history.js";
import { forgetLinks, show, showPlain } from "./result.js";
import { nameOf, say, switchTongue, writeTexts } from "./texts.js";
import { showTheme, switchTheme } from "./theme.js";

const PAUSE = 150; // milliseconds without a key before a request
const SETTLED = 1500; // and before it is history
const $ = (selector) => document.querySelector(selector);
const [text, source, target, output] = ["#text", "#source", "#target", "#translation"].map($);
let served = { languages: [], names: {}, characters: 0, file_formats: [], key_required: false };
let detected = null; // the language found for the text that is shown
let pause, settle, running;

function option(code, name) {
  return new Option(name, code);
}

function showSources() {
  const auto = option("auto", detected ? say("detected", nameOf(detected, served.names[detected])) : say("auto"));
  const chosen = source.value || (served.languages.length > 1 ? "auto" : served.languages[0]?.code);
  source.replaceChildren(auto, ...served.languages.map(({ code, name }) => option(code, nameOf(code, name))));
  source.value = chosen;
}

/** Only languages that the source can become. */
function showTargets() {
  const wanted = target.value || localStorage.getItem("target");
  const of = served.languages.filter(({ code }) => source.value === "auto" || code === source.value);
  const codes = [...new Set(of.flatMap((language) => language.targets))];
  target.replaceChildren(...codes.map((code) => option(code, nameOf(code, served.names[code]))));
  target.value = codes.includes(wanted) ? wanted : codes[0];
}

function tell(message) {
  $("#notice").textContent = message ?? "";
  $("#notice").hidden = !message;
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
        showPlain(alternative);
        showAlternatives(others);
      });
      item.append(button);
      return item;
    }),
  );
}

function showCount() {
  $("#count").textContent = say("count", Array.from(text.value).length, served.characters);
  $("#clear").hidden = text.value === "";
}

function clearResult() {
  showPlain("");
  showAlternatives([]);
  detected = null;
  $("#copy").disabled = true;
  $("#look").hidden = true;
}

async function translateNow() {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const q = text.value;
  if (!q.trim()) {
    output.setAttribute("aria-busy", "false");
    clearResult();
    return;
  }
  output.setAttribute("aria-busy", "true");
  try {
    const found = await translate(q, source.value, target.value, signal);
    tell(null);
    show(found);
    showAlternatives(found.alternatives);
    detected = found.detected?.language ?? null;
    showSources();
    $("#copy").disabled = !found.text;
    $("#look").hidden = served.direct.every(([from, to]) => from !== (detected ?? source.value) || to !== target.value);
    clearTimeout(settle);
    const entry = { q, source: source.value, target: target.value, text: found.text };
    settle = setTimeout(() => remember(entry, bringBack), SETTLED);
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error.status === 403 ? say("keyWanted") : error.message && error.status ? error.message : say("down"));
  } finally {
    if (running.signal === signal) output.setAttribute("aria-busy", "false");
  }
}

function translateSoon() {
  clearTimeout(pause);
  clearTimeout(settle);
  pause = setTimeout(translateNow, PAUSE);
}

function languagesChanged() {
  showTargets();
  localStorage.setItem("target", target.value);
  forgetLinks();
  translateNow();
}

function swap() {
  const from = source.value === "auto" ? detected ?? served.languages[0]?.code : source.value;
  const back = served.languages.find(({ code }) => code === target.value);
  if (!back?.targets.includes(from)) return;
  const translation = output.textContent;
  [source.value, text.value] = [target.value, translation || text.value];
  showTargets();
  target.value = from;
  showCount();
  languagesChanged();
}

function bringBack(entry) {
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
  label.textContent = say("copied");
  setTimeout(() => (label.textContent = say("copy")), 1500);
}

function showAll() {
  writeTexts();
  showSources();
  showTargets();
  showCount();
  showHistory(bringBack);
  $("#formats").textContent = served.file_formats.join(" ");
  $("#key-form").hidden = !served.key_required;
}

text.addEventListener("input", () => {
  forgetLinks();
  showCount();
  translateSoon();
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
$("#tongue").addEventListener("click", () => {
  switchTongue();
  showAll();
  if (text.value) translateNow();
});
$("#forget").addEventListener("click", () => forgetAll(bringBack));
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
writeTexts();
try {
  served = await languages();
  showAll();
} catch {
  tell(say("down"));
}
