"""Rules that change text before it is segmented, as Joey NMT has them: Unicode, the Moses tokenizer, lower case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from allyouneed.data.tokens.segmenters import Moses, Segmenter

_QUOTES = str.maketrans({"’": "'", "“": '"', "”": '"', "\u200b": ""})
_SPACES = re.compile("[ \u3000]+")
_SPACE_BEFORE = re.compile(" ([?!,.:])")


@dataclass(frozen=True)
class TextRules:
    """Rules, applied in this order.

    Attributes:
        unicode: Normalise to Unicode NFKC, straighten quotes, and remove repeated spaces and those before punctuation.
        moses: Separates words from punctuation.
        lowercase: Convert to lower case.
    """

    unicode: bool = False
    moses: Moses | None = None
    lowercase: bool = False

    def apply(self, text: str) -> str:
        """Change a text before it is segmented."""
        if self.unicode:
            text = _without_spaces(unicodedata.normalize("NFKC", text).translate(_QUOTES))
        text = self.moses.split(text) if self.moses else text
        return text.lower() if self.lowercase else text

    def undo(self, text: str) -> str:
        """Undo what the rules do to the spaces of a text."""
        text = self.moses.join(text) if self.moses else text
        return _without_spaces(text) if self.unicode else text


def _without_spaces(text: str) -> str:
    return _SPACE_BEFORE.sub(r"\1", _SPACES.sub(" ", text)).strip()


class NormalizingSegmenter:
    """A segmenter whose text is changed by rules first.

    Args:
        inner: The segmenter.
        rules: The rules.
    """

    kind: ClassVar[str] = "normalized"

    def __init__(self, inner: Segmenter, rules: TextRules):
        self.inner, self.rules, self.model = inner, rules, inner.model

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return self.inner.split(self.rules.apply(text))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens."""
        return self.rules.undo(self.inner.join(tokens))

    def shown(self, tokens: Sequence[str]) -> list[str]:
        """Return each token with ▁ for a space."""
        return self.inner.shown(tokens)

    def tokens(self, shown: Sequence[str]) -> list[str]:
        """Return the tokens that `shown` writes so."""
        return self.inner.tokens(shown)

    def settings(self) -> dict[str, Any]:
        """Return what `load_segmenter` needs besides `model`."""
        return {"inner": {"kind": self.inner.kind, **self.inner.settings()}, "rules": asdict(self.rules)}
