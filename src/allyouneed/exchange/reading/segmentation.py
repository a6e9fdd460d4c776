"""Tokenizers of imported models from the files that segment their text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from allyouneed.data.tokens.segmenters import BpeSegmenter, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary

Segmenters: TypeAlias = tuple[Segmenter, Segmenter]  # of source and target
_LARGEST = 1 << 28  # bytes


def tokenizer_of(
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary], segmenters: Segmenters
) -> VocabularyTokenizer:
    """Make the tokenizer of both sides; it is one where vocabularies and segmenters are equal."""
    source, target = (each.vocabulary for each in vocabularies)
    described = [(each.kind, each.model, each.settings()) for each in segmenters]
    target_tokenizer = VocabularyTokenizer(segmenters[1], target)
    if described[0] == described[1] and source == target:
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source, target_tokenizer)


def read_segmenters(paths: Sequence[Path]) -> Segmenters:
    """Read the subword models that the user gave.

    Args:
        paths: SentencePiece models or BPE codes: one for both sides, one for each, or none if tokens are separated by
            spaces.

    Raises:
        UserError: If a file is something else.
    """
    found: list[Segmenter] = [read_segmenter(path) for path in paths]
    found = found or [SpaceSegmenter()]
    return found[0], found[-1]


def read_segmenter(path: Path, *, separator: str = "@@") -> BpeSegmenter | SentencePieceSegmenter:
    """Read a SentencePiece model, or BPE codes of subword-nmt.

    Args:
        path: The file.
        separator: What tokens inside a word end with, with BPE codes.

    Raises:
        UserError: If it is something else.
    """
    content = read_small_file(path)
    try:
        return SentencePieceSegmenter(content)
    except RuntimeError:
        pass
    try:
        return BpeSegmenter(content, separator)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: neither a SentencePiece model nor BPE codes of subword-nmt.") from error


def read_small_file(path: Path) -> bytes:
    """Read a file of at most 256 MB.

    Raises:
        UserError: If it cannot be read or is larger.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error
    if len(content) > _LARGEST:
        raise UserError(f"{path}: larger than {_LARGEST >> 20} MB. Give the model's own file.")
    return content
