"""Check that the token ids of a store are those of a vocabulary: compiled code reads rows of embeddings by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from allyouneed.data.store import PairStore, Sentences
from allyouneed.errors import UserError

_PART = 1 << 22  # numbers that are compared at a time


def check_store(store: PairStore, sizes: tuple[int, int], folder: Path) -> None:
    """Check all numbers of a store, which may come from somebody else.

    Args:
        store: The store.
        sizes: Numbers of tokens in the vocabularies of source and target.
        folder: Folder of the store, for error messages.

    Raises:
        UserError: If a token id is not in the vocabulary, or the starts of sentences do not ascend.
    """
    for name, side, size in zip(("source", "target"), (store.source, store.target), sizes, strict=True):
        problem = _problem(side, size)
        if problem:
            raise UserError(f"{folder}: {name}.{problem}. Delete the prepared text and run the same command again.")


def _problem(side: Sentences, size: int) -> str:
    for start in range(0, len(side.ids), _PART):
        part = side.ids[start : start + _PART]
        if part.min() < 0 or part.max() >= size:
            return f"ids has a token that is not one of the {size:,} of the tokenizer"
    for start in range(0, len(side.offsets), _PART):
        if (np.diff(side.offsets[start : start + _PART + 1]) < 0).any():
            return "offsets does not ascend"
    if side.offsets[0] != 0 or side.offsets[-1] != len(side.ids):
        return "offsets does not begin at 0 and end at the last token"
    return ""
