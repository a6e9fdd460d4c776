"""Segmentation into characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class CharacterSegmenter:
    """Every character is a token, with ▁ for a space."""

    kind: ClassVar[str] = "character"
    model = b""

    def split(self, text: str) -> list[str]:
        """Return the characters of a text."""
        return list(text.replace(" ", "▁"))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of characters."""
        return "".join(tokens).replace("▁", " ").strip()

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return the characters."""
        return list(tokens)

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the characters."""
        return list(shown)

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`: nothing."""
        return {}
