"""Sub-words and words: where a word begins, what it says, which characters it is."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from allyouneed.data.tokenizer import EOS, to_nfc
from allyouneed.data.vocabulary import AnyTokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_UNSPACED = {"ja", "km", "lo", "my", "th", "zh"}  # written without spaces: subwords stand for words


class Sentence(NamedTuple):
    """ids with EOS; starts: the place in ids of each word's first subword; words end with `</s>`."""

    ids: list[int]
    starts: list[int]
    words: list[str]


def split_sentence(tokenizer: AnyTokenizer, text: str, language: str) -> Sentence:
    """A word begins at a space; punctuation at its end is a word of its own, as in tokenised text."""
    ids = [*tokenizer.encode(text), EOS]
    pieces = tokenizer.pieces(ids)
    starts, end = [len(ids) - 1], len(ids) - 1  # from the last to the first; end: the first subword after the word
    for place in reversed(range(len(ids) - 1)):
        begins = place == 0 or pieces[place].startswith("▁") or language in _UNSPACED
        if begins or not has_letters("".join(pieces[place:end])):
            starts.append(place)
        if begins:
            end = place
    starts.reverse()
    words = [tokenizer.decode(ids[start:end]).strip() for start, end in pairwise(starts)]
    return Sentence(ids, starts, [*map(html.unescape, words), "</s>"])  # Moses's tokeniser writes 's as &apos;s


def join_subwords(weights: np.ndarray, starts: Sequence[int], key_starts: Sequence[int] | None = None) -> np.ndarray:
    """[..., query, key] of subwords -> of words: the sum over a key's subwords, the mean over a query's.

    key_starts: of the keys' words, where keys are not the queries.
    """
    sizes = np.diff([*starts, weights.shape[-2]])
    keys = starts if key_starts is None else key_starts
    return np.add.reduceat(np.add.reduceat(weights, keys, -1), starts, -2) / sizes[:, None]


def has_letters(text: str) -> bool:
    """Or digits, of any script: whether it is more than punctuation."""
    return any(character.isalnum() for character in text)


class Word(NamedTuple):
    """tokens first to last (not included), and the characters begin to end of the text, in NFC."""

    first: int
    last: int
    begin: int
    end: int


def words_of(tokenizer: AnyTokenizer, text: str, language: str) -> list[Word]:
    """The words of a text, without `</s>`, as `split_sentence` splits it."""
    sentence = split_sentence(tokenizer, text, language)
    spans = spans_of(tokenizer.pieces(sentence.ids[:-1]), to_nfc(text))
    return [Word(i, j, spans[i][0], spans[j - 1][1]) for i, j in pairwise(sentence.starts)]


def spans_of(pieces: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Which characters of the text each subword stands for, begin and end; spaces before it are not among them. A byte
    that does not complete a character stands for none."""
    spans, place, started = [], 0, b""
    for piece in pieces:
        byte = _BYTE.fullmatch(piece)
        if byte:
            started += bytes([int(byte[1], 16)])
            letters = started.decode("utf-8", "ignore")
            started = b"" if letters else started
        else:
            letters, started = piece, b""
        while letters and place < len(text) and text[place].isspace():
            place += 1
        begin = place
        for letter in letters:
            if letter != "▁":
                place += 1
                continue
            while place < len(text) and text[place].isspace():
                place += 1
            begin = place if begin == place or text[begin:place].isspace() else begin
        spans.append((min(begin, len(text)), min(place, len(text))))
    return spans


def links_of(weights: np.ndarray, source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int, float]]:
    """Links (source word, target word, weight), a target word's strongest. weights [query, key] of subwords, with
    `</s>` at the end of both, as the last of the words' starts."""
    words = join_subwords(weights, target, source)[:-1, :-1]
    if not words.size:
        return []
    return [(int(row.argmax()), number, float(row.max())) for number, row in enumerate(words)]
