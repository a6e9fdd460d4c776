"""Segmenters of stored tokenizers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from allyouneed.data.tokens.character_segmenter import CharacterSegmenter
from allyouneed.data.tokens.normalizing_segmenter import NormalizingSegmenter, TextRules
from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter

_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,40}")  # the package of the Moses tokenizer has a file for each
_SPECIAL_TOKENS = 4  # at the beginning of a vocabulary


def base_kind(settings: Mapping[str, Any]) -> str:
    """Return the kind of the segmenter that has the model, from stored settings."""
    kind: str = settings.get("inner", settings)["kind"]
    return kind


def load_segmenter(model: bytes, settings: Mapping[str, Any], vocabulary: Sequence[str] = ()) -> Segmenter:
    """Recreate a segmenter from its model, kind and settings.

    Args:
        model: Content of its file, if it has one.
        settings: Its kind and settings.
        vocabulary: Tokens, for a segmenter that is restricted to them.

    Raises:
        ValueError, TypeError, KeyError, RuntimeError: If they are invalid.
    """
    kind = settings.get("kind", SentencePieceSegmenter.kind)
    if kind == NormalizingSegmenter.kind:
        rules = TypeAdapter(TextRules).validate_python(
            {**settings["rules"], "moses": settings["rules"].get("moses") or None}
        )
        return NormalizingSegmenter(load_segmenter(model, settings["inner"], vocabulary), _checked(rules))
    moses = TypeAdapter(Moses).validate_python(settings["moses"]) if "moses" in settings else None
    _checked(TextRules(moses=moses))
    if kind == CharacterSegmenter.kind:
        return CharacterSegmenter()
    if kind == SpaceSegmenter.kind:
        return SpaceSegmenter(moses)
    if kind == SentencePieceSegmenter.kind:
        return SentencePieceSegmenter(model)
    if kind != BpeSegmenter.kind:
        raise ValueError(f"unknown segmentation {kind!r}")
    segmenter = BpeSegmenter(model, str(settings["separator"]), moses)
    if settings.get("restricted"):
        segmenter.restrict(vocabulary[_SPECIAL_TOKENS:])
    return segmenter


def _checked(rules: TextRules) -> TextRules:
    if rules.moses and not _LANGUAGE.fullmatch(rules.moses.language):
        raise ValueError(f"{rules.moses.language[:40]!r} is not the code of a language")
    return rules
