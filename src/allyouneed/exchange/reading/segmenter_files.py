"""Segmenters of imported models, from BPE codes or SentencePiece models, with the Moses tokenizer where it was used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary

_ESCAPED = ("&apos;", "&quot;", "&amp;", "&#124;", "&#91;", "&apos;s", "&lt;")  # what Moses makes of ' " & | [ <
_DASH = "@-@"


def read_segmenters(
    codes: Sequence[Path],
    sentencepiece: Sequence[Path],
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
    languages: tuple[str, str],
    is_moses: bool = False,
) -> tuple[Segmenter, Segmenter]:
    """Read the segmenters of source and target; without files, text is tokens separated by spaces.

    Args:
        codes: BPE codes: none, one file for both sides, or one for each.
        sentencepiece: SentencePiece models likewise.
        vocabularies: Of source and target. Tokens that only the Moses tokenizer produces show that it was used.
        languages: Codes of source and target.
        is_moses: Whether the model says that text was tokenized by Moses.

    Raises:
        UserError: If a file is something else.
    """
    both = codes or sentencepiece
    models = [both[0], both[-1]] if both else [None, None]
    found: list[Segmenter] = []
    for model, vocabulary, language in zip(models, vocabularies, languages, strict=True):
        if model is None:
            found.append(SpaceSegmenter())
            continue
        moses = _moses(set(vocabulary.vocabulary.names), language, is_moses)
        try:
            content = model.read_bytes()
            found.append(BpeSegmenter(content, moses=moses) if codes else SentencePieceSegmenter(content))
        except (OSError, ValueError, RuntimeError) as error:
            kind = "BPE codes of subword-nmt or fastBPE" if codes else "a SentencePiece model"
            raise UserError(f"{model}: not {kind} ({error}).") from error
    return found[0], found[1]


def _moses(names: Collection[str], language: str, is_moses: bool) -> Moses | None:
    escapes = any(name in names or f"{name}@@" in names for name in _ESCAPED)
    dashes = _DASH in names
    return Moses(language.split("-")[0], escapes, dashes) if is_moses or escapes or dashes else None


def make_tokenizer(
    segmenters: tuple[Segmenter, Segmenter], vocabularies: tuple[ImportedVocabulary, ImportedVocabulary]
) -> VocabularyTokenizer:
    """Make the tokenizer of both sides, one object if they do not differ."""
    source, target = (each.vocabulary for each in vocabularies)
    target_tokenizer = VocabularyTokenizer(segmenters[1], target)
    is_one = source == target and segmenters[0].model == segmenters[1].model
    if is_one and segmenters[0].settings() == segmenters[1].settings():
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source, target_tokenizer)


def describe_segmenters(segmenters: tuple[Segmenter, Segmenter]) -> str:
    """Return a sentence for the user about how text is segmented."""
    kind = segmenters[0].kind
    if kind == SpaceSegmenter.kind:
        return "No file that segments text was given: text in and out is tokens separated by spaces."
    if kind == SentencePieceSegmenter.kind:
        return "Text is segmented by SentencePiece."
    return "Text is segmented by BPE codes" + (
        " after the Moses tokenizer." if segmenters[0].settings().get("moses") else "."
    )
