// The translation: its words, how sure the model is of each, and which words of the text they come from.

import { say } from "./texts.js";

const output = document.querySelector("#translation");
const backdrop = document.querySelector("#backdrop");
const text = document.querySelector("#text");
let links = []; // {source: [start, end], word: element}, of the text that is shown

/** Shows a translation as the server tells it. Places count code points, as Python does. */
export function show(translation) {
  const letters = Array.from(translation.text);
  const words = translation.sentences.flatMap((sentence) => sentence.words);
  const nodes = [];
  const byStart = new Map();
  let place = 0;
  for (const { place: [start, end], log_probability } of words) {
    nodes.push(letters.slice(place, start).join(""));
    const word = document.createElement("span");
    word.className = "word";
    word.textContent = letters.slice(start, end).join("");
    const sure = Math.exp(log_probability);
    word.style.setProperty("--doubt", (1 - sure).toFixed(3));
    word.title = say("sure", Math.round(100 * sure));
    word.tabIndex = nodes.length === 1 ? 0 : -1; // one stop for Tab; arrows go from word to word
    byStart.set(start, word);
    nodes.push(word);
    place = end;
  }
  nodes.push(letters.slice(place).join(""));
  output.replaceChildren(...nodes);
  links = translation.sentences
    .flatMap((sentence) => sentence.alignment)
    .map(({ source, target }) => ({ source, word: byStart.get(target[0]) }))
    .filter(({ word }) => word);
  mark([]);
}

/** Another translation instead, of which nothing more is known. */
export function showPlain(translation) {
  output.textContent = translation;
  links = [];
  mark([]);
}

/** Marks places of the text, and the words that belong to them. */
function mark(marked) {
  const letters = Array.from(text.value);
  const nodes = [];
  let place = 0;
  const places = [...new Map(marked.map(({ source }) => [source[0], source])).values()].sort((a, b) => a[0] - b[0]);
  for (const [start, end] of places) {
    const element = document.createElement("mark");
    element.textContent = letters.slice(start, end).join("");
    nodes.push(letters.slice(place, start).join(""), element);
    place = end;
  }
  backdrop.replaceChildren(...nodes, letters.slice(place).join("") + "\n");
  for (const word of output.querySelectorAll(".word")) word.classList.toggle("marked", marked.some((link) => link.word === word));
}

function markWord(event) {
  const word = event.target.closest?.(".word");
  mark(word ? links.filter((link) => link.word === word) : []);
}

/** The word of the text that the caret stands in, and its translation. */
function markCaret() {
  if (document.activeElement !== text) return;
  const caret = Array.from(text.value.slice(0, text.selectionStart)).length;
  mark(links.filter(({ source: [start, end] }) => start <= caret && caret <= end));
}

function walk(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || !event.target.matches(".word")) return;
  const words = [...output.querySelectorAll(".word")];
  const next = words[words.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** What is typed is not what was translated any more. */
export function forgetLinks() {
  links = [];
  mark([]);
}

output.addEventListener("pointerover", markWord);
output.addEventListener("pointerleave", () => mark([]));
output.addEventListener("focusin", markWord);
output.addEventListener("focusout", () => mark([]));
output.addEventListener("keydown", walk);
document.addEventListener("selectionchange", markCaret);
