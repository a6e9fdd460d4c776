"""Words of a tokenized sentence: their tokens, text and characters."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from allyouneed.data.tokens.tokenizer import EOS, to_nfc
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.languages import primary

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_UNSPACED = {"ja", "km", "lo", "my", "th", "zh"}  # written without spaces: each token counts as a word


class Sentence(NamedTuple):
    """A sentence as tokens and words.

    Attributes:
        ids: Token ids with EOS.
        starts: Index of each word's first token.
        words: Texts of the words; the last is `</s>`.
    """

    ids: list[int]
    starts: list[int]
    words: list[str]


def split_sentence(tokenizer: AnyTokenizer, text: str, language: str) -> Sentence:
    """Split a text into words at spaces, and split off punctuation at the end of a word.

    Args:
        tokenizer: Tokenizer of the text.
        text: The text.
        language: Language code; in languages without spaces, each token is a word.

    Returns:
        Tokens and words.
    """
    ids = [*tokenizer.encode(text), EOS]
    pieces = tokenizer.pieces(ids)
    unspaced = primary(language) in _UNSPACED
    starts, end = [len(ids) - 1], len(ids) - 1  # from the last word to the first; end: first token after the word
    for index in reversed(range(len(ids) - 1)):
        begins = index == 0 or pieces[index].startswith("▁") or unspaced
        if begins or not has_letters("".join(pieces[index:end])):
            starts.append(index)
        if begins:
            end = index
    starts.reverse()
    words = [tokenizer.decode(ids[start:end]).strip() for start, end in pairwise(starts)]
    return Sentence(ids, starts, [*map(html.unescape, words), "</s>"])  # the Moses tokenizer writes 's as &apos;s


def join_subwords(weights: np.ndarray, starts: Sequence[int], key_starts: Sequence[int] | None = None) -> np.ndarray:
    """Convert attention between tokens to attention between words.

    Args:
        weights: Weights between tokens, shape [..., query, key].
        starts: Index of the first token of each query word.
        key_starts: Index of the first token of each key word; None if keys and queries are the same words.

    Returns:
        Weights between words, shape [..., query word, key word]: summed over the tokens of a key, averaged over those
        of a query.
    """
    sizes = np.diff([*starts, weights.shape[-2]])
    keys = starts if key_starts is None else key_starts
    return np.add.reduceat(np.add.reduceat(weights, keys, -1), starts, -2) / sizes[:, None]


def has_letters(text: str) -> bool:
    """Check whether a text has a letter or digit of any script, that is, more than punctuation."""
    return any(character.isalnum() for character in text)


class Word(NamedTuple):
    """A word: tokens `first` to `last` and characters `begin` to `end` of the text in NFC, both ends excluded."""

    first: int
    last: int
    begin: int
    end: int


def words_of(tokenizer: AnyTokenizer, text: str, language: str) -> list[Word]:
    """List the words of a text as `split_sentence` splits it, without `</s>`."""
    sentence = split_sentence(tokenizer, text, language)
    spans = spans_of(tokenizer.pieces(sentence.ids[:-1]), to_nfc(text))
    return [Word(i, j, spans[i][0], spans[j - 1][1]) for i, j in pairwise(sentence.starts)]


def spans_of(pieces: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Find the characters of each token.

    Args:
        pieces: Tokens, with ▁ for a space; byte tokens as <0xE2>.
        text: Text in NFC.

    Returns:
        Begin and end of each token's characters, without preceding spaces. The span of a byte token is empty unless
        the byte completes a character.
    """
    spans, position, pending = [], 0, b""
    for piece in pieces:
        byte = _BYTE.fullmatch(piece)
        if byte:
            pending += bytes([int(byte[1], 16)])
            letters = pending.decode("utf-8", "ignore")
            pending = b"" if letters else pending
        else:
            letters, pending = piece, b""
        while letters and position < len(text) and text[position].isspace():
            position += 1
        begin = position
        for letter in letters:
            if letter != "▁":
                position += 1
                continue
            while position < len(text) and text[position].isspace():
                position += 1
            begin = position if begin == position or text[begin:position].isspace() else begin
        spans.append((min(begin, len(text)), min(position, len(text))))
    return spans


def links_of(weights: np.ndarray, source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int, float]]:
    """Link each target word to the source word with the largest weight.

    Args:
        weights: Encoder-decoder attention, shape [target token, source token], both with `</s>` at the end.
        source: Index of the first token of each source word, and of `</s>`.
        target: Index of the first token of each target word, and of `</s>`.

    Returns:
        Links (source word, target word, weight).
    """
    words = join_subwords(weights, target, source)[:-1, :-1]
    if not words.size:
        return []
    return [(int(row.argmax()), number, float(row.max())) for number, row in enumerate(words)]
