// The displayed translation: word probabilities, and highlighting of aligned words.

import { message } from "./messages.js";

const output = document.querySelector("#translation");
const backdrop = document.querySelector("#backdrop");
const text = document.querySelector("#text");
let links = []; // {source: [start, end], word: element} of the displayed translation

/** Shows a translation from the server. Positions count code points, as in Python, not UTF-16 units. */
export function showTranslation(translation) {
  const characters = Array.from(translation.text);
  const words = translation.sentences.flatMap((sentence) => sentence.words);
  const nodes = [];
  const wordsByStart = new Map();
  let position = 0;
  for (const { place: [start, end], log_probability } of words) {
    nodes.push(characters.slice(position, start).join(""));
    const word = document.createElement("span");
    word.className = "word";
    word.textContent = characters.slice(start, end).join("");
    const probability = Math.exp(log_probability);
    word.style.setProperty("--doubt", (1 - probability).toFixed(3));
    word.title = message("probability", Math.round(100 * probability));
    word.tabIndex = nodes.length === 1 ? 0 : -1; // one tab stop; arrow keys move between words
    wordsByStart.set(start, word);
    nodes.push(word);
    position = end;
  }
  nodes.push(characters.slice(position).join(""));
  output.replaceChildren(...nodes);
  links = translation.sentences
    .flatMap((sentence) => sentence.alignment)
    .map(({ source, target }) => ({ source, word: wordsByStart.get(target[0]) }))
    .filter(({ word }) => word);
  highlight([]);
}

/** Shows a translation without word scores and alignment. */
export function showPlainTranslation(translation) {
  output.textContent = translation;
  links = [];
  highlight([]);
}

/** Highlights both ends of the given links. */
function highlight(highlighted) {
  const characters = Array.from(text.value);
  const nodes = [];
  let position = 0;
  const spans = [...new Map(highlighted.map(({ source }) => [source[0], source])).values()].sort((a, b) => a[0] - b[0]);
  for (const [start, end] of spans) {
    const mark = document.createElement("mark");
    mark.textContent = characters.slice(start, end).join("");
    nodes.push(characters.slice(position, start).join(""), mark);
    position = end;
  }
  backdrop.replaceChildren(...nodes, characters.slice(position).join("") + "\n");
  for (const word of output.querySelectorAll(".word")) word.classList.toggle("marked", highlighted.some((link) => link.word === word));
}

function highlightWord(event) {
  const word = event.target.closest?.(".word");
  highlight(word ? links.filter((link) => link.word === word) : []);
}

/** Highlights the source word at the caret and its translation. */
function highlightCaret() {
  if (document.activeElement !== text) return;
  const caret = Array.from(text.value.slice(0, text.selectionStart)).length;
  highlight(links.filter(({ source: [start, end] }) => start <= caret && caret <= end));
}

function moveFocus(event) {
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

/** Discards the links when the source text no longer matches the translation. */
export function discardLinks() {
  links = [];
  highlight([]);
}

output.addEventListener("pointerover", highlightWord);
output.addEventListener("pointerleave", () => highlight([]));
output.addEventListener("focusin", highlightWord);
output.addEventListener("focusout", () => highlight([]));
output.addEventListener("keydown", moveFocus);
document.addEventListener("selectionchange", highlightCaret);
