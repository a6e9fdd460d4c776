"""Stand-ins: words that a model sees in place of placeholders, URLs and code.

A model that was not trained on placeholders translates a sentence well only if it knows all words in it. Hence a kept
part is replaced by a word of the model's own language whose translation is always the same word, such as "dog" and
"Hund". These words are found once for each model, with the sentences stored in its bundle: every candidate is put into
some of them, and those with the most consistent translations are used.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from allyouneed.data.tokens.tokenizer import UNK, to_nfc
from allyouneed.translation.translator import Translator
from allyouneed.translation.word_alignment import Span, align_words, word_spans

_FALLBACK = ("X", "Y", "Z", "A", "B", "C", "D", "E")
_NUMBERS = ("5", "7", "12", "20", "15", "30")
_WORDS = 12  # stand-ins that are used
_CANDIDATES = 40
_CONTEXTS = 6
_LENGTHS = range(4, 26)  # words of a context
_CONSISTENT = 0.6  # minimum share of the same translation for a stand-in
_MIN_LETTERS = 3


class StandIn(NamedTuple):
    """A word that replaces a kept part in the source.

    Attributes:
        source: The word.
        targets: Its translations, in small letters; empty if they are not known.
    """

    source: str
    targets: frozenset[str] = frozenset()


class StandIns(NamedTuple):
    """The stand-ins of a model.

    Attributes:
        words: For text, most reliable first.
        numbers: For numbers.
        tokens: Maximum number of tokens of one.
    """

    words: tuple[StandIn, ...]
    numbers: tuple[StandIn, ...]
    tokens: int


_known: WeakKeyDictionary[Translator, StandIns] = WeakKeyDictionary()
_lock = threading.Lock()


def stand_ins_of(translator: Translator) -> StandIns:
    """Return the stand-ins of a translator, which are found at the first call."""
    with _lock:
        if translator not in _known:
            _known[translator] = _find(translator)
        return _known[translator]


def _find(translator: Translator) -> StandIns:
    contexts = _contexts(translator)
    candidates = _candidates(contexts, _MIN_LETTERS) or _candidates(contexts, 1)
    words = _consistent(translator, contexts, candidates)[:_WORDS]
    numbers = _consistent(translator, contexts, [each for each in _NUMBERS if _is_known(translator, each)])
    words = words or [StandIn(each) for each in candidates[:_WORDS] or _FALLBACK]
    tokens = max(len(translator.tokenizer.encode(each.source)) for each in [*words, *numbers])
    return StandIns(tuple(words), tuple(numbers or words), tokens)


def _is_known(translator: Translator, text: str) -> bool:
    """Return whether the vocabulary has all characters of a text."""
    ids = translator.tokenizer.encode(text)
    return UNK not in ids and not any(piece.startswith("<0x") for piece in translator.tokenizer.pieces(ids))


def _contexts(translator: Translator) -> list[str]:
    """Return the source sentences of the bundle's reference outputs, without codes of target languages."""
    tokenizer = translator.tokenizer
    split = [tokenizer.split_code(to_nfc(sample["source"]).strip()) for sample in translator.bundle.samples]
    texts = [text.strip() for code, text in split if not tokenizer.code or code in ("", tokenizer.code)]
    return [text for text in texts if len(word_spans(text)) in _LENGTHS]


def _candidates(contexts: Sequence[str], min_letters: int) -> list[str]:
    """Return words of the contexts, the longest of each first, since nouns tend to be long."""
    found: dict[str, None] = {}
    by_context = [
        sorted({text[a:b] for a, b in word_spans(text) if text[a:b].isalpha() and b - a >= min_letters}, key=len)
        for text in contexts
    ]
    while any(by_context) and len(found) < _CANDIDATES:
        found |= {words.pop(): None for words in by_context if words}
    return list(found)[:_CANDIDATES]


def _consistent(translator: Translator, contexts: Sequence[str], candidates: Sequence[str]) -> list[StandIn]:
    """Return the candidates with consistent translations that no other candidate has, most consistent first."""
    texts, spans = [], []
    for number, candidate in enumerate(candidates):
        for text, span in _variants(contexts, candidate, number):
            texts.append(text)
            spans.append(span)
    if not texts:
        return []
    found = translator.translate(texts, beam_size=1, return_scores=False)
    pairs = [(text, to_nfc(one.text)) for text, one in zip(texts, found, strict=True)]
    counts: list[Counter[str]] = [Counter() for _ in candidates]
    for number, (pair, aligned) in enumerate(zip(pairs, align_words(translator, pairs), strict=True)):
        column = [i for i, span in enumerate(aligned.source) if span == spans[number]]
        if column and aligned.target:
            a, b = aligned.target[int(aligned.weights[:, column[0]].argmax())]
            counts[number * len(candidates) // len(texts)][pair[1][a:b].lower()] += 1
    return _chosen(candidates, counts)


def _variants(contexts: Sequence[str], candidate: str, number: int) -> list[tuple[str, Span]]:
    """Return some contexts with the candidate in place of one of their longest words."""
    found = []
    for i in range(_CONTEXTS):
        text = contexts[(number + i * 3 + 1) % len(contexts)]
        spans = [(a, b) for a, b in word_spans(text) if a > 0 and text[a:b].isalpha()] or [word_spans(text)[0]]
        a, b = sorted(spans, key=lambda span: span[0] - span[1])[i % 3 % len(spans)]
        found.append((text[:a] + candidate + text[b:], (a, a + len(candidate))))
    return found


def _chosen(candidates: Sequence[str], counts: Sequence[Counter[str]]) -> list[StandIn]:
    best = [each.most_common(1)[0] if each else ("", 0) for each in counts]
    owners: dict[str, tuple[int, int]] = {}
    for number, (word, count) in enumerate(best):
        if word and count > owners.get(word, (0, 0))[0]:
            owners[word] = count, number
    chosen = []
    for number in sorted(range(len(candidates)), key=lambda i: -best[i][1]):
        word, count = best[number]
        shared = owners.get(word, (0, -1))[1] != number
        if count >= _CONSISTENT * _CONTEXTS and not shared and re.search(r"[^\W_]", word):
            targets = {word, *(other for other, n in counts[number].items() if n > 1 and other not in owners)}
            chosen.append(StandIn(candidates[number], frozenset(targets)))
    return chosen
