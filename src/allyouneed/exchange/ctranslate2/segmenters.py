"""What divides text into the tokens of a CTranslate2 model: SentencePiece models or BPE codes, found or given.

CTranslate2 itself takes and returns tokens. Converters and their users put the files beside `model.bin` under various
names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.data.tokens.segmenters import BpeSegmenter, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import AnyTokenizer, VocabularyTokenizer

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


def find_segmenters(folder: Path) -> list[Path]:
    """Return the files of a model's folder that divide text: one for both sides, one for each, or none."""
    names = next((names for names in _NAMES if all((folder / name).is_file() for name in names)), ())
    return [folder / name for name in names]


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
