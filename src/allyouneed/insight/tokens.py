"""Word boundaries in the tokens of other tokenizers, converted to ▁ at the beginning of a word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

SPECIAL = {"<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "<|endoftext|>"}


def mark_words(tokens: Sequence[str]) -> list[str]:
    """Mark the beginning of each word by ▁.

    Recognised are ▁ of SentencePiece, Ġ of GPT-2, ## of BERT and @@ of subword-nmt and fairseq; without any of them,
    each token is a word.

    Args:
        tokens: Tokens of one text.

    Returns:
        The tokens with ▁ at the beginning of a word; special tokens such as `<s>` unchanged.
    """
    if any(token.startswith("▁") for token in tokens):
        return list(tokens)
    if any(token.startswith("Ġ") for token in tokens):
        first = next((i for i, token in enumerate(tokens) if token not in SPECIAL), 0)
        return [
            f"▁{token}" if i == first and token[:1] != "Ġ" else token.replace("Ġ", "▁")
            for i, token in enumerate(tokens)
        ]
    if any(token.startswith("##") for token in tokens):
        return [token[2:] if token.startswith("##") and len(token) > 2 else _word(token) for token in tokens]
    continues = [False, *(token.endswith("@@") for token in tokens)][: len(tokens)]
    pieces = [token[:-2] if token.endswith("@@") and len(token) > 2 else token for token in tokens]
    return [piece if inside else _word(piece) for piece, inside in zip(pieces, continues, strict=True)]


def word_ranges(tokens: Sequence[str]) -> list[list[int]]:
    """List the words of marked tokens as [first token, last token, -1, -1], the last excluded; see `explorer.py`."""
    starts = [i for i, token in enumerate(tokens) if i == 0 or token.startswith("▁") or token in SPECIAL]
    return [[first, last, -1, -1] for first, last in pairwise([*starts, len(tokens)])]


def _word(token: str) -> str:
    return token if token in SPECIAL else f"▁{token}"
