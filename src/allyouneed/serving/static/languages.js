// The choice of languages, and the detected language.

import { $ } from "./dom.js";
import { languageName, message } from "./messages.js";
import { browserStore } from "./storage.js";

const [source, target] = ["#source", "#target"].map($);
export const AUTO = "auto";

/** What the server offers: languages, their names, direct pairs and limits. */
export let served = { languages: [], names: {}, direct: [], characters: 0, file_bytes: 0, file_formats: [], key_required: false };
let detected = null; // {language, confidence, ...} of the displayed text

export function setServed(offered) {
  served = offered;
}

export const nameOf = (code) => languageName(code, served.names[code]);
export const selected = () => ({ source: source.value, target: target.value });
/** The source language: the chosen one, else the detected one, else null. */
export const knownSource = () => (source.value === AUTO ? detected?.language ?? null : source.value);

export function showSources() {
  const isServed = served.languages.some(({ code }) => code === detected?.language);
  const auto = new Option(isServed ? message("detected", nameOf(detected.language)) : message("auto"), AUTO);
  const chosen = source.value || (served.languages.length > 1 ? AUTO : served.languages[0]?.code);
  source.replaceChildren(auto, ...served.languages.map(({ code }) => new Option(nameOf(code), code)));
  source.value = chosen;
}

/** Offers only the languages that the source can be translated to. */
export function showTargets() {
  const chosen = target.value || browserStore.get("target");
  const sources = served.languages.filter(({ code }) => source.value === AUTO || code === source.value);
  const codes = [...new Set(sources.flatMap((language) => language.targets))];
  target.replaceChildren(...codes.map((code) => new Option(nameOf(code), code)));
  target.value = codes.includes(chosen) ? chosen : codes[0];
}

/** Chooses languages; one that is only served as a variety, for example en-GB for en, is chosen as that. */
export function choose(sourceCode, targetCode) {
  select(source, sourceCode);
  showTargets();
  select(target, targetCode);
}

function select(list, code) {
  const codes = [...list.options].map((option) => option.value);
  list.value = codes.includes(code) ? code : codes.find((each) => primary(each) === primary(code)) ?? list.value;
}

/** Returns the language of a code without script, region and variety, which glossaries are for. */
export const primary = (code) => (code.startsWith("x-") ? code : code.split("-")[0].toLowerCase());

/** Shows the language that was detected, or null for a text whose language was given. */
export function showDetected(found) {
  detected = found;
  showSources();
  const line = $("#detection");
  line.hidden = !found;
  if (!found) return;
  const { language, confidence } = found;
  const values = [nameOf(language), Math.round(confidence)];
  line.textContent = confidence ? message(detectionKind(found), ...values) : message("undetected");
}

function detectionKind({ language, certain }) {
  if (primary(language) === primary(target.value)) return "inTarget";
  if (!served.languages.some(({ code }) => code === language)) return "unsupported";
  return certain ? "detection" : "unsure";
}

/** Returns the languages after exchanging them, or null if the reverse direction is not served. */
export function reversed() {
  const from = knownSource() ?? served.languages[0]?.code;
  const reverse = served.languages.find(({ code }) => code === target.value);
  return reverse?.targets.includes(from) ? { source: target.value, target: from } : null;
}
