// The displayed translation: word probabilities, highlighting of aligned words, and replacement of single sentences.

import { $ } from "./dom.js";
import { message, percent } from "./messages.js";

const [output, backdrop, text] = ["#translation", "#backdrop", "#text"].map($);
let shown = null; // {text, sentences: [{source, target, words, alignment}]} as from the server
let wordsByElement = new Map(); // element: {sentence, index} of the displayed words
let links = []; // {source: [start, end], word: element} of the displayed translation

/** Shows a translation from the server. Positions count code points, as in Python, not UTF-16 units. */
export function showTranslation(translation) {
  shown = translation;
  const characters = Array.from(translation.text);
  const nodes = [];
  const elementsByStart = new Map();
  let position = 0;
  wordsByElement = new Map();
  for (const sentence of translation.sentences) {
    for (const [index, { place: [start, end], log_probability }] of sentence.words.entries()) {
      const word = wordElement(characters.slice(start, end).join(""), Math.exp(log_probability));
      word.tabIndex = wordsByElement.size === 0 ? 0 : -1; // one tab stop; arrow keys move between words
      wordsByElement.set(word, { sentence, index });
      elementsByStart.set(start, word);
      nodes.push(characters.slice(position, start).join(""), word);
      position = end;
    }
  }
  nodes.push(characters.slice(position).join(""));
  output.replaceChildren(...nodes);
  links = translation.sentences
    .flatMap((sentence) => sentence.alignment)
    .map(({ source, target }) => ({ source, word: elementsByStart.get(target[0]) }))
    .filter(({ word }) => word);
  highlight([]);
}

function wordElement(content, probability) {
  const word = document.createElement("span");
  word.className = "word";
  word.textContent = content;
  word.style.setProperty("--doubt", (1 - probability).toFixed(3));
  word.title = message("probability", percent(probability));
  word.setAttribute("role", "button");
  word.setAttribute("aria-haspopup", "dialog");
  word.setAttribute("aria-label", message("wordLabel", content, percent(probability)));
  return word;
}

/** Shows a translation without word scores and alignment. */
export function showPlainTranslation(translation) {
  showTranslation({ text: translation, sentences: [] });
}

/** Returns the sentence of a displayed word, with its index, its text and probability and the text before it. */
export function wordAt(element) {
  const { sentence, index } = wordsByElement.get(element);
  const characters = Array.from(shown.text);
  const { place: [start, end], log_probability } = sentence.words[index];
  return {
    sentence,
    index,
    word: characters.slice(start, end).join(""),
    before: characters.slice(sentence.target[0], start).join("").trimEnd(),
    probability: Math.exp(log_probability),
  };
}

/** Replaces the translation of a sentence by another {text, words, alignment} with positions of its own. */
export function replaceSentence(sentence, other) {
  const characters = Array.from(shown.text);
  const [start, end] = sentence.target;
  const text = [...characters.slice(0, start), other.text, ...characters.slice(end)].join("");
  const grown = Array.from(other.text).length - (end - start);
  const moved = ([from, to], by) => [from + by, to + by];
  const sentences = shown.sentences.map((each) => {
    const isLater = each.target[0] >= end && each !== sentence;
    const { target, words, alignment } = each === sentence ? other : each;
    const by = each === sentence ? start : isLater ? grown : 0;
    const sourceBy = each === sentence ? sentence.source[0] : 0;
    return {
      ...each,
      target: each === sentence ? [start, end + grown] : moved(target, by),
      words: words.map((word) => ({ ...word, place: moved(word.place, by) })),
      alignment: alignment.map((link) => ({ source: moved(link.source, sourceBy), target: moved(link.target, by) })),
    };
  });
  showTranslation({ ...shown, text, sentences });
  return text;
}

/** Moves the focus to a word of the displayed translation, by its sentence's number and its index. */
export function focusWord(sentenceNumber, index) {
  const sentence = shown.sentences[sentenceNumber];
  const found = [...wordsByElement].filter(([, word]) => word.sentence === sentence);
  const [element] = found[Math.min(index, found.length - 1)] ?? [];
  element?.focus();
}

export const sentenceNumber = (sentence) => shown.sentences.indexOf(sentence);

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
  for (const word of wordsByElement.keys()) word.classList.toggle("marked", highlighted.some((link) => link.word === word));
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
  const words = [...wordsByElement.keys()];
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
