"""Vocabularies of other systems in this package's order: padding, unknown, start and end first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from allyouneed.data.tokens.vocabulary import Vocabulary
from allyouneed.errors import UserError

_USUAL = (("<pad>", "<blank>"), ("<unk>",), ("<s>", "<start>"), ("</s>",))


class ImportedVocabulary(NamedTuple):
    """A vocabulary, and where the rows of its matrices are.

    Attributes:
        vocabulary: The tokens in this package's order.
        rows: Row of each token in the original matrices; None for a token that was added, whose row is zero.
    """

    vocabulary: Vocabulary
    rows: list[int | None]

    def reorder(self, matrix: Tensor) -> Tensor:
        """Reorder the rows of a matrix, or the entries of a bias."""
        zero = matrix.new_zeros(1, *matrix.shape[1:])
        return torch.cat([matrix, zero])[torch.tensor([len(matrix) if row is None else row for row in self.rows])]


def order_vocabulary(path: Path, tokens: Sequence[str], special: Sequence[str | None]) -> ImportedVocabulary:
    """Put the special tokens first.

    The start token may be one of the others: then it is added, with a copy of that row.

    Args:
        path: File of the tokens, for messages.
        tokens: All tokens, in the order of their rows.
        special: Names of padding, unknown, start and end; None or a name without a row adds the token.

    Returns:
        The vocabulary.

    Raises:
        UserError: If a token is not text, occurs twice, or there is no unknown token.
    """
    rows_by_name: dict[str, int] = {}
    for row, token in enumerate(tokens):
        if not isinstance(token, str) or token in rows_by_name:
            raise UserError(
                f"{path}: token {row} of the vocabulary, {str(token)[:40]!r}, is not a text or occurs twice."
            )
        rows_by_name[token] = row
    pad, unknown, start, end = (None if name is None else rows_by_name.get(name) for name in special)
    if unknown is None:
        raise UserError(f"{path}: the vocabulary has no unknown token {special[1]!r}. Get the whole model again.")
    own_start = None if start in (pad, unknown, end) else start
    taken = {pad, unknown, own_start, end}
    others = [row for row in range(len(tokens)) if row not in taken]
    names = [
        tokens[row] if row is not None else _new_name(usual, rows_by_name)
        for row, usual in zip((pad, unknown, own_start, end), _USUAL, strict=True)
    ]
    names += [tokens[row] for row in others]
    return ImportedVocabulary(Vocabulary(names, list(range(len(names)))), [pad, unknown, start, end, *others])


def _new_name(usual: Sequence[str], taken: dict[str, int]) -> str:
    return next(name for name in chain(usual, (f"<added {n}>" for n in count())) if name not in taken)
