"""What divides text into the tokens of a CTranslate2 model: SentencePiece models or BPE codes, found or given.

CTranslate2 itself takes and returns tokens. Converters and their users put the files beside `model.bin` under various
names.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import AnyTokenizer, VocabularyTokenizer
from allyouneed.errors import UserError

SHARED, SIDES = "sentencepiece.model", ("source.spm", "target.spm")
_BPE = ("source.bpe", "target.bpe")
_NAMES = (
    SIDES,
    _BPE,
    ("source.model", "target.model"),
    (SHARED,),
    ("spm.model",),
    ("sentencepiece.bpe.model",),
    ("spiece.model",),
    ("tokenizer.model",),
    ("bpe.model",),
    ("bpe.codes",),
    ("codes.bpe",),
)
_LARGEST = 1 << 28  # bytes


def find_segmenters(folder: Path) -> list[Path]:
    """Return the files of a model's folder that divide text: one for both sides, one for each, or none."""
    names = next((names for names in _NAMES if all((folder / name).is_file() for name in names)), ())
    return [folder / name for name in names]


def read_segmenter(content: bytes, path: Path, moses: Moses | None = None) -> Segmenter:
    """Return what divides text, from the content of a file.

    Args:
        content: A SentencePiece model, or BPE codes of subword-nmt or fastBPE.
        path: The file, for messages.
        moses: Separates words from punctuation before BPE.

    Raises:
        UserError: If the content is something else.
    """
    if content:  # SentencePiece takes no content for a model without pieces
        with suppress(RuntimeError):
            return SentencePieceSegmenter(content)
    try:
        return BpeSegmenter(content, moses=moses)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: neither a SentencePiece model nor a list of BPE codes.") from error


def read_segmenters(paths: Sequence[Path]) -> list[Segmenter]:
    """Read one file for both sides or one for each; without files, tokens are separated by spaces.

    Raises:
        UserError: If a file cannot be read or is something else.
    """
    return [read_segmenter(_read(path), path) for path in paths] or [SpaceSegmenter()]


def remark(segmenters: Sequence[Segmenter]) -> str:
    """Return what the user has to know about the segmentation, if anything."""
    spaced = [one for one in segmenters if isinstance(one, SpaceSegmenter) and not one.moses]
    if not spaced:
        return ""
    if isinstance(spaced[0], BpeSegmenter):
        return "Text must be tokenized as for training before BPE, for example by the Moses tokenizer."
    return "Without a SentencePiece model or BPE codes, text must consist of tokens separated by spaces."


def segmenter_files(tokenizer: AnyTokenizer) -> dict[str, bytes]:
    """Return the files of a tokenizer by names under which `find_segmenters` finds them."""
    if isinstance(tokenizer, VocabularyTokenizer):
        source, target = tokenizer.segmenter, tokenizer.target.segmenter
        if {source.kind, target.kind} == {BpeSegmenter.kind}:
            return dict(zip(_BPE, (source.model, target.model), strict=True))
        if {source.kind, target.kind} != {SentencePieceSegmenter.kind}:
            return {}
    models = tokenizer.model, tokenizer.target.model
    return {SHARED: models[0]} if models[0] == models[1] else dict(zip(SIDES, models, strict=True))


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error
    if len(content) > _LARGEST:
        raise UserError(f"{path}: has more than {_LARGEST >> 20} MiB.")
    return content
