"""Alternatives for a word of a translation: other words at its position, and the translations that continue them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from allyouneed.serving.queue.model_worker import SentenceTranslation, TranslationOptions, lost_parts
from allyouneed.translation.results import Alternative
from allyouneed.translation.scoring import score_pairs, word_log_probabilities
from allyouneed.translation.sentence import Sentence
from allyouneed.translation.translator import Translator

_TOKENS_PER_WORD = 2  # tokens tried per alternative, since several may begin one word or continue the word before


class PrefixedSentence(NamedTuple):
    """A sentence, the beginning of its translation up to the word in question, and the number of alternatives."""

    sentence: Sentence
    target_prefix: str
    num_words: int

    @property
    def text(self) -> str:
        """The text of the sentence."""
        return self.sentence.text


class WordAlternative(NamedTuple):
    """A word that may follow the beginning of a translation.

    Attributes:
        word: The word; empty for the end of the sentence.
        log_probability: Its log probability after the beginning.
        translation: The best translation with this word, with word scores and word alignment.
    """

    word: str
    log_probability: float
    translation: SentenceTranslation


def word_alternatives(
    translator: Translator, payloads: Sequence[PrefixedSentence], options: TranslationOptions
) -> list[list[WordAlternative]]:
    """Find the most likely words after the beginning of each translation, most likely first."""
    return [_alternatives(translator, payload, options) for payload in payloads]


def _alternatives(
    translator: Translator, payload: PrefixedSentence, options: TranslationOptions
) -> list[WordAlternative]:
    text, tokenizer = payload.text, translator.tokenizer.target
    tokens = min(_TOKENS_PER_WORD * payload.num_words, len(tokenizer) // 2)
    found = translator.alternatives(text, payload.target_prefix, tokens, options.search.beam_size)
    before = _words(tokenizer.decode(tokenizer.encode(payload.target_prefix)))
    chosen = list(_first_of_each_word(found, before))[: payload.num_words]
    scored = score_pairs(translator, [text] * len(chosen), [each.text for _, each in chosen]) if chosen else []
    alternatives = []
    for (word, each), scores in zip(chosen, scored, strict=True):
        word_scores, links = word_log_probabilities(scores), translator.align(text, each.text)
        problems = lost_parts(payload.sentence, each.text)
        best = SentenceTranslation(each.text, each.score, [], word_scores, links, problems=problems)
        log_probability = word_scores[len(before)] if word else each.log_probability
        alternatives.append(WordAlternative(word, log_probability, best))
    return sorted(alternatives, key=lambda each: -each.log_probability)


def _first_of_each_word(found: Sequence[Alternative], before: list[str]) -> Iterator[tuple[str, Alternative]]:
    """Yield the best alternative of each word, without those that continue the last word of the beginning."""
    seen = set()
    for alternative in found:
        words = _words(alternative.text)
        word = words[len(before)] if len(words) > len(before) else ""
        if words[: len(before)] == before and word not in seen:
            seen.add(word)
            yield word, alternative


def _words(text: str) -> list[str]:
    """Return the space-separated words, the units of word scores and alignment."""
    return [word for word in text.split(" ") if word]
