"""Alignment of words by position, for many sentence pairs at once, from the decoder's attention.

Unlike `alignment.align`, words need no spaces between them: in scripts such as Chinese, the tokens are the words.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from allyouneed.data.batches import pad, token_batches
from allyouneed.data.tokens.tokenizer import BOS, EOS, to_nfc
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.translator import Translator

Span = tuple[int, int]  # start and end, in characters

# Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese.
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u3190-\ua4cf\uf900-\ufaff\uff66-\uff9f"
    r"\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|(?:(?![{UNSPACED}])[^\W_])+|\S")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_UNKNOWN = "<unk>"
_NEAR = 64  # characters within which a token is searched after an unknown one


class AlignedWords(NamedTuple):
    """The words of a sentence pair, and how much the translation of each attends to each source word.

    Attributes:
        source: Positions of source words and punctuation marks.
        target: Positions of target words and punctuation marks.
        weights: Attention, the mean over the tokens of a target word, [target words, source words].
    """

    source: list[Span]
    target: list[Span]
    weights: np.ndarray

    def links(self) -> list[tuple[Span, Span]]:
        """Return positions of (source, target) words: each target word with the source word that it attends to most."""
        if not (self.source and self.target):
            return []
        best = self.weights.argmax(axis=1).tolist()
        return [(self.source[i], target) for i, target in zip(best, self.target, strict=True)]


@torch.inference_mode()
def align_words(translator: Translator, pairs: Sequence[tuple[str, str]]) -> list[AlignedWords]:
    """Align the words of sentence pairs, whose texts are in NFC and not longer than the model allows."""
    tokenizer = translator.tokenizer
    source = [_Tokens(tokenizer, text) for text, _ in pairs]
    target = [_Tokens(tokenizer.target, text) for _, text in pairs]
    found: dict[int, AlignedWords] = {}
    lengths, target_lengths = (
        np.array([len(each.ids) + 1 for each in side], dtype=np.int64) for side in (source, target)
    )
    layer = deciding_layer(translator.bundle.config.model.decoder_layers)
    for batch in token_batches(lengths, target_lengths, translator.bundle.config.search.batch_tokens):
        source_ids, target_ids = (
            pad([[*start, *side[i].ids, *end] for i in batch]).to(translator.device)
            for side, start, end in ((source, (), (EOS,)), (target, (BOS,), ()))
        )
        recorder = AttentionRecorder()
        translator.model.hidden(source_ids, target_ids, Probe((recorder,)))
        weights = recorder.cross[layer].float().mean(dim=1).cpu().numpy()
        for row, i in enumerate(batch):
            found[i] = _aligned(source[i], target[i], weights[row])
    return [found[i] for i in range(len(pairs))]


class _Tokens:
    """Token ids of a text with their positions, and the positions of its words."""

    def __init__(self, tokenizer: AnyTokenizer, text: str):
        self.ids = tokenizer.encode(text)
        self.spans = token_spans(to_nfc(text), tokenizer.pieces(self.ids))
        self.words = word_spans(to_nfc(text), self.spans)

    def matrix(self) -> np.ndarray:
        """Return which tokens belong to each word, 0 or 1, [words, tokens]."""
        found = np.zeros((len(self.words), len(self.ids)), dtype=np.float32)
        ends = [end for _, end in self.words]
        for token, (start, end) in enumerate(self.spans):
            for word in range(bisect_right(ends, start), len(self.words)):
                if self.words[word][0] >= end:
                    break
                found[word, token] = 1
        return found


def _aligned(source: _Tokens, target: _Tokens, weights: np.ndarray) -> AlignedWords:
    """Sum the weights of each source word's tokens, and average those of each target word's tokens."""
    columns, rows = source.matrix(), target.matrix()
    counts = np.maximum(rows.sum(axis=1, keepdims=True), 1)
    inside = weights[: len(target.ids), : len(source.ids)]
    return AlignedWords(source.words, target.words, rows / counts @ inside @ columns.T)


def token_spans(text: str, pieces: Sequence[str]) -> list[Span]:
    """Return the position of each token in a text, without the space before it.

    A tokenizer that normalises characters gives approximate positions there. A token that is not in the text, such as
    the code of a target language, has the position of the text before it.
    """
    spans: list[Span] = []
    position, unknown, pending = 0, False, bytearray()
    for piece in pieces:
        body = piece.replace("▁", "")
        byte = _BYTE.fullmatch(piece)
        if byte:
            pending.append(int(byte[1], 16))
            body = pending.decode("utf-8", "ignore")
        if not byte or body:
            pending.clear()
        if piece == _UNKNOWN or not body:
            unknown = unknown or piece == _UNKNOWN
            spans.append((position, position + (piece == _UNKNOWN)))
            continue
        start = text.find(body, position, position + len(body) + (_NEAR if unknown else 8))
        if start < 0:
            start = position
        else:
            position = start + len(body)
        spans.append((start, start + len(body)))
        unknown = False
    return spans


def word_spans(text: str, tokens: Sequence[Span] = ()) -> list[Span]:
    """Return the positions of words and punctuation marks; in scripts without spaces, tokens separate words."""
    spans: list[Span] = []
    cuts = sorted({position for span in tokens for position in span})
    for match in _WORD.finditer(text):
        start, end = match.span()
        inside = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)] if match["unspaced"] else []
        spans += zip([start, *inside], [*inside, end], strict=True)
    return spans
