"""Results of translation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from allyouneed.translation.translator import Translator


@dataclass(frozen=True)
class Translation:
    """The translation of one text.

    Attributes:
        source: The source text.
        text: The best translation.
        score: Log probability of the best translation and its end divided by the length penalty, also where the end was
            forced at the maximum length; for a text that was split, the sum over its parts.
        tokens: Tokens of the best translation.
        log_probs: Natural logarithm of the probability of each token.
        hypotheses: Translations with their scores, best first.
        pieces: Number of parts that the text was split into; 1 unless it is too long for the model, 0 if it is empty.
        problems: What could not be guaranteed, one sentence each: the model repeated itself.
    """

    source: str
    text: str
    score: float
    tokens: list[str]
    log_probs: list[float]
    hypotheses: list[tuple[str, float]]
    pieces: int
    _translator: Translator = field(repr=False, compare=False)
    problems: tuple[str, ...] = ()

    @cached_property
    def alignment(self) -> list[tuple[int, int]]:
        """Return links (i, j) between space-separated source and target words, from 0, by the decoder's attention."""
        return self._translator.align(self.source, self.text)


class Alternative(NamedTuple):
    """A token that may come next, with the best translation that continues with it.

    Attributes:
        token: The token; `</s>` for the end of sentence.
        log_probability: Log probability of the token.
        text: The best translation with this token after the prefix.
        score: Score of the rest of the translation, without the given prefix and the token itself.
    """

    token: str
    log_probability: float
    text: str
    score: float
