// Other words for a word of the translation, in a list that opens at the word.

import { alternatives } from "./api.js";
import { $, announce, element } from "./dom.js";
import { errorMessage, message, percent } from "./messages.js";
import { focusWord, replaceSentence, sentenceNumber, wordAt } from "./result.js";

const [output, popover, list, status] = ["#translation", "#words", "#words ul", "#words p"].map($);
const NARROW = matchMedia("(max-width: 720px)"); // on a phone the list is at the bottom of the screen, see style.css
let pendingRequest;

/** Opens the list when a word is chosen; translated() returns {q, source, target, glossary} of the displayed translation. */
export function offerAlternatives(translated, onChosen) {
  const open = (event) => {
    const word = event.target.closest(".word");
    if (!word || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    openList(word, translated(), onChosen);
  };
  output.addEventListener("click", open);
  output.addEventListener("keydown", open);
  popover.addEventListener("keydown", moveFocus);
  popover.addEventListener("toggle", (event) => {
    if (event.newState === "closed") pendingRequest?.abort();
  });
}

export function closeAlternatives() {
  if (popover.matches(":popover-open")) popover.hidePopover();
}

async function openList(word, { q, ...languages }, onChosen) {
  const chosen = wordAt(word);
  pendingRequest?.abort();
  pendingRequest = new AbortController();
  const { signal } = pendingRequest;
  showStatus(message("loading"));
  list.replaceChildren();
  popover.showPopover();
  placeAt(word);
  popover.focus();
  try {
    const sentence = Array.from(q).slice(...chosen.sentence.source).join("");
    const found = await alternatives(languageCode(q, chosen) + sentence, languages, chosen.before, signal);
    const isListed = found.some((each) => each.word === chosen.word);
    showStatus(found.length > (isListed ? 1 : 0) ? "" : message("noWords"));
    list.replaceChildren(...found.map((each) => item(each, chosen, onChosen)));
    placeAt(word);
    list.querySelector("button")?.focus();
  } catch (error) {
    if (error.name !== "AbortError") showStatus(errorMessage(error));
  }
}

/** Returns a target-language code such as >>fr<< at the beginning of a text, which its later sentences need as well. */
function languageCode(q, { sentence }) {
  return sentence.source[0] === 0 ? "" : (/^\s*>>[\w-]+<<\s*/.exec(q)?.[0] ?? "");
}

function item(alternative, chosen, onChosen) {
  const { word, text, log_probability } = alternative;
  const probability = Math.exp(log_probability);
  const before = chosen.before ? chosen.before.length + 1 : 0;
  const rest = text.slice(before + word.length);
  const button = element(
    "button",
    { type: "button", title: text, "aria-current": word === chosen.word },
    element("b", { className: word ? "" : "end" }, word || message("endOfSentence")),
    element("span", { className: "rest" }, rest),
    element("span", { className: "percent" }, percent(probability)),
  );
  button.style.setProperty("--share", `${100 * probability}%`);
  button.addEventListener("click", () => choose(alternative, chosen, onChosen));
  return element("li", {}, button);
}

function choose(alternative, { sentence, index, word }, onChosen) {
  closeAlternatives();
  const number = sentenceNumber(sentence);
  if (alternative.word !== word) {
    const text = replaceSentence(sentence, withoutCode(alternative, sentence));
    announce(message("wordChosen", text));
    onChosen(text, alternative.problems);
  }
  focusWord(number, index);
}

/** Returns the alternative with source positions from the sentence's own start. */
function withoutCode(alternative, sentence) {
  const by = Math.max(0, alternative.source[0]);
  const alignment = alternative.alignment.map(({ source: [from, to], target }) => ({ source: [from - by, to - by], target }));
  return { ...alternative, alignment };
}

function showStatus(text) {
  status.textContent = text;
  status.hidden = !text;
}

/** Places the list below the word, within the window. */
function placeAt(word) {
  const { left, bottom } = word.getBoundingClientRect();
  const furthest = document.documentElement.clientWidth - popover.offsetWidth - 8;
  popover.style.left = NARROW.matches ? "" : `${Math.max(8, Math.min(left, furthest)) + scrollX}px`;
  popover.style.top = NARROW.matches ? "" : `${bottom + scrollY + 6}px`;
}

function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...list.querySelectorAll("button")];
  const index = buttons.indexOf(document.activeElement);
  buttons[(index + step + buttons.length) % buttons.length]?.focus();
}
