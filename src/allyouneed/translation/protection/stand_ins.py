"""Stand-ins: words that a model sees in place of placeholders, URLs and code.

A model that was not trained on placeholders translates a sentence well only if it knows all words in it. Hence a kept
part is replaced by a word of the model's own language whose translation is always the same word, such as "dog" and
"Hund". These words are found once for each model, with the sentences stored in its bundle: every candidate is put into
some of them, and those with the most consistent translations are used.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from allyouneed.data.tokens.tokenizer import UNK, to_nfc
from allyouneed.translation.directions import needs_target
from allyouneed.translation.translator import Translator
from allyouneed.translation.word_alignment import AlignedWords, Span, align_words, word_spans

_FALLBACK = ("X", "Y", "Z", "Q", "K", "W")  # models that saw much text copy them
_NUMBERS = ("5", "7", "12", "20", "15", "30")
_WORDS = 12  # stand-ins that are used
_CANDIDATES = 60
_CONTEXTS = 8
_LENGTHS = range(4, 26)  # words of a context
_CONSISTENT = 0.6  # minimum share of the same translation for a stand-in
_MIN_LETTERS = 3
_FREQUENT = 16  # words that are probably articles, prepositions and the like


_Place = tuple[str, Span]  # a text, and the position of a word in it


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
    places = _noun_places(_contexts(translator))
    candidates = list(dict.fromkeys(text[a:b] for text, (a, b) in places if _is_known(translator, text[a:b])))
    words = _consistent(translator, places, candidates[:_CANDIDATES])[:_WORDS]
    numbers = _consistent(translator, places, [each for each in _NUMBERS if _is_known(translator, each)])
    words = words or [StandIn(each, frozenset((each.lower(),))) for each in candidates[:_WORDS] or _FALLBACK]
    tokens = max(len(translator.tokenizer.encode(each.source)) for each in [*words, *numbers])
    return StandIns(tuple(words), tuple(numbers or words), tokens)


def _is_known(translator: Translator, text: str) -> bool:
    """Return whether the vocabulary has all characters of a text."""
    ids = translator.tokenizer.encode(text)
    return UNK not in ids and not any(piece.startswith("<0x") for piece in translator.tokenizer.pieces(ids))


def _contexts(translator: Translator) -> list[str]:
    """Return the source sentences of the bundle's reference outputs, without codes of target languages."""
    if needs_target(translator.bundle):  # no text can be translated without a code
        return []
    tokenizer = translator.tokenizer
    split = [tokenizer.split_code(to_nfc(sample["source"]).strip()) for sample in translator.bundle.samples]
    texts = [text.strip() for code, text in split if not tokenizer.code or code in ("", tokenizer.code)]
    return [text for text in texts if len(word_spans(text)) in _LENGTHS]


def _noun_places(contexts: Sequence[str]) -> list[_Place]:
    """Return positions of words that are probably nouns, the longest words first.

    They are between two of the most frequent words or punctuation marks, such as articles and prepositions; other words
    are used only if there are too few.
    """
    spans = [(text, word_spans(text)) for text in contexts]
    counts = Counter(text[a:b].lower() for text, words in spans for a, b in words)
    frequent = {word for word, count in counts.most_common(_FREQUENT) if count > 1}
    nouns, others = list[_Place](), list[_Place]()
    for text, words in spans:
        around = [text[a:b].lower() in frequent or not text[a:b].isalnum() for a, b in words]
        for i, (a, b) in enumerate(words[1:], start=1):
            if around[i] or not text[a:b].isalpha():
                continue
            is_noun = around[i - 1] and text[slice(*words[i - 1])].isalnum() and all(around[i + 1 : i + 2])
            (nouns if is_noun and b - a >= _MIN_LETTERS else others).append((text, (a, b)))
    places = nouns if len(nouns) >= _CONTEXTS else [*nouns, *others]
    return sorted(places, key=lambda place: place[1][0] - place[1][1])


def _consistent(translator: Translator, places: Sequence[_Place], candidates: Sequence[str]) -> list[StandIn]:
    """Return the candidates with consistent translations that no other candidate has, best first.

    The best are those to which their translations attend most.
    """
    if not (places and candidates):
        return []
    trials = [variant for number, each in enumerate(candidates) for variant in _variants(places, each, number)]
    found = translator.translate([text for text, _ in trials], beam_size=1, return_scores=False, repetition_guard=False)
    pairs = [(text, to_nfc(one.text)) for (text, _), one in zip(trials, found, strict=True)]
    linked = [
        _linked(target, words, span)
        for (_, target), words, (_, span) in zip(pairs, align_words(translator, pairs), trials, strict=True)
    ]
    return _chosen(candidates, [linked[i : i + _CONTEXTS] for i in range(0, len(linked), _CONTEXTS)])


def _linked(target: str, words: AlignedWords, span: Span) -> tuple[str, float]:
    """Return the word of a translation that attends most to a source word, and its attention."""
    column = [i for i, each in enumerate(words.source) if each == span]
    if not (column and words.target):
        return "", 0.0
    best = int(words.weights[:, column[0]].argmax())
    return target[slice(*words.target[best])].lower(), float(words.weights[best, column[0]])


def _variants(places: Sequence[_Place], candidate: str, number: int) -> list[_Place]:
    """Return texts with the candidate in place of a noun, and its positions."""
    others = [place for place in places if candidate not in place[0]] or places
    step = max(1, len(others) // _CONTEXTS)
    chosen = [others[(number + i * step) % len(others)] for i in range(_CONTEXTS)]
    return [(text[:a] + candidate + text[b:], (a, a + len(candidate))) for text, (a, b) in chosen]


def _chosen(candidates: Sequence[str], results: Sequence[Sequence[tuple[str, float]]]) -> list[StandIn]:
    counts = [Counter(word for word, _ in each) for each in results]
    best = [each.most_common(1)[0] for each in counts]
    attention = [sum(value for _, value in each) / _CONTEXTS for each in results]
    owners: dict[str, tuple[int, int]] = {}
    for number, (word, count) in enumerate(best):
        if word and count > owners.get(word, (0, 0))[0]:
            owners[word] = count, number
    chosen = []
    for number in sorted(range(len(candidates)), key=lambda i: -attention[i]):
        word, count = best[number]
        shared = owners.get(word, (0, -1))[1] != number
        if count >= _CONSISTENT * _CONTEXTS and not shared and any(map(str.isalnum, word)):
            targets = {word, *(other for other, n in counts[number].items() if n > 1 and other not in owners)}
            chosen.append(StandIn(candidates[number], frozenset(targets)))
    return chosen
