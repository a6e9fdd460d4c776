"""Tokenizers of imported models from their vocabularies and what segments their text."""

from __future__ import annotations

from collections.abc import Collection

from allyouneed.data.tokens.segmenters import Moses, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.reading.segmenter_files import Segmenters

_ESCAPED = ("&apos;", "&quot;", "&amp;", "&#124;", "&#91;", "&apos;s", "&lt;")  # what Moses makes of ' " & | [ <
_DASH = "@-@"


def make_tokenizer(
    segmenters: Segmenters, vocabularies: tuple[ImportedVocabulary, ImportedVocabulary]
) -> VocabularyTokenizer:
    """Make the tokenizer of both sides; it is one where vocabularies and segmenters are equal."""
    source, target = (each.vocabulary for each in vocabularies)
    described = [(each.kind, each.model, each.settings()) for each in segmenters]
    target_tokenizer = VocabularyTokenizer(segmenters[1], target)
    if described[0] == described[1] and source == target:
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source, target_tokenizer)


def find_moses(
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary], languages: tuple[str, str], is_moses: bool = False
) -> list[Moses | None]:
    """Return the Moses tokenizers of source and target; None where text was not tokenized by Moses before BPE.

    Args:
        vocabularies: Of source and target. Tokens that only the Moses tokenizer produces show that it was used.
        languages: Codes of source and target.
        is_moses: Whether the model says that text was tokenized by Moses.
    """
    pairs = zip(vocabularies, languages, strict=True)
    return [_moses(set(each.vocabulary.names), language, is_moses) for each, language in pairs]


def _moses(names: Collection[str], language: str, is_moses: bool) -> Moses | None:
    escapes = any(name in names or f"{name}@@" in names for name in _ESCAPED)
    dashes = _DASH in names
    return Moses(language.split("-")[0], escapes, dashes) if is_moses or escapes or dashes else None


def describe_segmenters(segmenters: Segmenters) -> str:
    """Return a sentence for the user about how text is segmented."""
    kind = segmenters[0].kind
    if kind == SpaceSegmenter.kind:
        return "No file that segments text was given: text in and out is tokens separated by spaces."
    if kind == SentencePieceSegmenter.kind:
        return "Text is segmented by SentencePiece."
    return "Text is segmented by BPE codes" + (
        " after the Moses tokenizer." if segmenters[0].settings().get("moses") else "."
    )
