"""Segmenters of stored tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allyouneed.data.tokens.character_segmenter import CharacterSegmenter
from allyouneed.data.tokens.normalizing_segmenter import NormalizingSegmenter, TextRules
from allyouneed.data.tokens.segmenters import BpeSegmenter, Moses, Segmenter, SentencePieceSegmenter, SpaceSegmenter

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
        rules = dict(settings["rules"])
        moses = Moses(**rules["moses"]) if rules.get("moses") else None
        inner = load_segmenter(model, settings["inner"], vocabulary)
        return NormalizingSegmenter(inner, TextRules(**{**rules, "moses": moses}))
    moses = Moses(**settings["moses"]) if "moses" in settings else None
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
