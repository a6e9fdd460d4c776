"""The text from which a tokenizer is trained, in bounded memory: the different words, and how often each occurs.

BPE and vocabularies of words or characters are functions of the counts of words, which take far less memory than the
text. A unigram model is trained from sentences while they are within the limit, as SentencePiece does, which takes its
first pieces from their substrings; and else from words, with about as many tokens (`benchmarks/tokenizer_text.py`).
Tabs are spaces.

Beyond the limit, rare words are sampled: with a threshold t, a word that occurs n < t times is kept with the
probability n/t and then counts t times, so that the expected counts are those of the text (threshold sampling, Duffield
et al. 2005).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import numpy as np

from allyouneed.data.tokens.tokenizer import to_nfc

LONGEST_SENTENCE = 100_000  # bytes; SentencePiece skips longer ones
_SPACE = "▁"  # as SentencePiece writes it
_CHECKS = 4  # measurements of the memory while text of the size of the limit is added


class TextCounts:
    """Occurrences of the different words of a text; for a unigram model, of its sentences while they are few.

    Args:
        subwords: Algorithm of the tokenizer: "bpe", "unigram", "word" or "char".
        limit: Characters of different words or sentences that are kept; a quarter more for a moment.
        symbols: User-defined symbols of the tokenizer; with spaces in them, sentences are counted instead of words.

    Attributes:
        is_weighted: Whether `lines` have counts.
    """

    def __init__(self, subwords: str, limit: int, symbols: Iterable[str] = ()):
        self.is_weighted = subwords != "unigram"
        self._in_words = self.is_weighted and not any(" " in symbol for symbol in symbols)
        self._limit, self._unmeasured = limit, 0
        self._counts = Counter[str]()
        self._threshold = 1
        self._random = np.random.default_rng(1)

    def __bool__(self) -> bool:
        return any(self._counts)

    def add(self, sentence: str) -> None:
        """Count the words of a sentence, after normalisation to NFC."""
        text = to_nfc(sentence).replace("\t", " ")
        if 4 * len(text) > LONGEST_SENTENCE and len(text.encode()) > LONGEST_SENTENCE:
            return
        self._counts.update(self._items(text))
        self._unmeasured += len(text)
        if self._unmeasured * _CHECKS > self._limit:
            self._unmeasured = 0
            self._keep_limit()

    def lines(self) -> Iterator[str]:
        """Yield the text for SentencePiece: in its format "tsv", words with counts, else sentences."""
        if not self.is_weighted:
            return chain.from_iterable(repeat(text, count) for text, count in self._counts.items())
        return (f"{item}\t{count}" for item, count in self._counts.items() if item)

    def characters(self) -> Counter[str]:
        """Count characters as SentencePiece does, with a space before each word."""
        counts = Counter[str]()
        for item, count in self._counts.items():
            for character in item:
                counts[character] += count
            counts[" "] += count
        return counts

    def _items(self, text: str) -> list[str]:
        # SentencePiece takes this character for a space, but not at the end of a sentence.
        return text.split(" ") if self._in_words and _SPACE not in text else [text]

    def _keep_limit(self) -> None:
        if sum(map(len, self._counts)) <= self._limit:
            return
        if not self.is_weighted:
            self.is_weighted = self._in_words = True
            sentences, self._counts = self._counts, Counter()
            for text, count in sentences.items():
                for word in self._items(text):
                    self._counts[word] += count
        if sum(map(len, self._counts)) > self._limit:
            self._sample()

    def _sample(self) -> None:
        """Keep half of what the limit allows."""
        items = list(self._counts)
        counts = np.fromiter(self._counts.values(), dtype=np.int64, count=len(items))
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        while (lengths * np.minimum(1.0, counts / self._threshold)).sum() > self._limit / 2:
            self._threshold *= 2
        kept = np.flatnonzero(self._random.random(len(items)) * self._threshold < counts)
        self._counts = Counter({items[i]: max(int(counts[i]), self._threshold) for i in kept})
