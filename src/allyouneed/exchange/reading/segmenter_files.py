"""Files that segment the text of imported models: SentencePiece models or BPE codes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, read_regular

Segmenters: TypeAlias = tuple[Segmenter, Segmenter]  # of source and target
_LARGEST = 1 << 28  # bytes


def read_segmenters(paths: Sequence[Path], moses: Sequence[Moses | None] = (None, None)) -> Segmenters:
    """Read the subword models of both sides.

    Args:
        paths: SentencePiece models or BPE codes: one for both sides, one for each, or none if tokens are separated by
            spaces.
        moses: What separates words from punctuation before BPE, for source and target.

    Raises:
        UserError: If there are more files, or one cannot be read or is something else.
    """
    if not paths:
        spaces = SpaceSegmenter()
        return spaces, spaces
    if len(paths) > len(moses):
        raise UserError(f"{paths[2]}: a third file that segments text. Give one for both sides, or one for each.")
    source = read_segmenter(paths[0], moses=moses[0])
    if len(paths) == 1 and moses[0] == moses[1]:
        return source, source
    return source, read_segmenter(paths[-1], moses=moses[1])


def read_segmenter(path: Path, *, separator: str = "@@", moses: Moses | None = None) -> Segmenter:
    """Read a SentencePiece model or BPE codes; see `segmenter_of`.

    Raises:
        UserError: If the file cannot be read or is something else.
    """
    return segmenter_of(read_small_file(path), path, separator=separator, moses=moses)


def segmenter_of(content: bytes, path: Path, *, separator: str = "@@", moses: Moses | None = None) -> Segmenter:
    """Return what divides text, from the content of a file.

    Args:
        content: A SentencePiece model, or BPE codes of subword-nmt or fastBPE.
        path: The file, for messages.
        separator: What tokens inside a word end with, with BPE codes.
        moses: Separates words from punctuation before BPE.

    Raises:
        UserError: If the content is something else.
    """
    if content:  # SentencePiece takes no content for a model without pieces
        with suppress(RuntimeError):
            return SentencePieceSegmenter(content)
    try:
        return BpeSegmenter(content, separator, moses)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: neither a SentencePiece model nor BPE codes of subword-nmt or fastBPE.") from error


def read_small_file(path: Path) -> bytes:
    """Read a file of at most 256 MB.

    Raises:
        UserError: If it cannot be read or is larger.
    """
    try:
        return read_regular(path, _LARGEST)
    except OSError as error:
        raise cannot_read(path, error, "Give the model's own file.") from error
