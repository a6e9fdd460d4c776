"""Recognition of sides in another language, with the model that py3langid ships (Lui and Baldwin 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from allyouneed.data.cleaning.characters import Characters, letter_table, letters_of, script_table
from allyouneed.languages import primary

_EXAMINED = 300  # characters of a text
_FEWEST_LETTERS = 40  # shorter texts are not certain; with ideographs, a third of that
_CERTAIN = 0.95  # probability of another language
_EXCLUDED = 1e-4  # probability of the expected language
_OWN_SCRIPTS = frozenset(
    ["el", "he", "hy", "ka", "ko", "ja", "th", "lo", "km", "my", "ta", "te", "kn", "ml", "si", "gu", "pa", "or"]
)
# Languages that the identifier confuses, or that are written alike.
_RELATED = (
    frozenset({"no", "nb", "nn", "da", "sv"}), frozenset({"hr", "sr", "bs", "sl"}), frozenset({"id", "ms", "jv"}),
    frozenset({"cs", "sk"}), frozenset({"es", "gl", "ca", "pt", "an"}), frozenset({"ru", "uk", "be", "bg", "mk"}),
    frozenset({"de", "lb", "nl", "af", "fy"}), frozenset({"hi", "mr", "ne"}), frozenset({"zu", "xh"}),
    frozenset({"tr", "az"}), frozenset({"fa", "ps", "ur"}), frozenset({"it", "la"}), frozenset({"fr", "oc", "wa"}),
    frozenset({"zh", "ja"}), frozenset({"fi", "et"}), frozenset({"ga", "gd"}),
)  # fmt: skip


class LanguageCheck:
    """Finds texts that are certainly in another language than one side of a corpus.

    Args:
        language: Code of the side's language.
    """

    def __init__(self, language: str):
        self._code = primary(language)
        self._identifier = _identifier()
        self._accepted = {self._code}.union(*(group for group in _RELATED if self._code in group))
        letters = letters_of(language) if self._code in _OWN_SCRIPTS else None
        self._own = None if letters is None else script_table(letters)

    @property
    def is_possible(self) -> bool:
        """Whether the identifier knows the language."""
        return self._code in self._identifier.labels

    def foreign(self, texts: Sequence[str], characters: Characters) -> np.ndarray:
        """Return which texts are in another language, shape [texts]."""
        failed = np.zeros(len(texts), dtype=bool)
        if not self.is_possible:
            return failed
        letters = characters.count(letter_table(), beyond=True)
        candidates = letters >= _FEWEST_LETTERS
        if self._own is not None:  # a script that no other language has
            candidates &= 2 * characters.count(self._own) < letters
        for index in map(int, np.flatnonzero(candidates)):
            failed[index] = self._is_foreign(texts[index][:_EXAMINED])
        return failed

    def _is_foreign(self, text: str) -> bool:
        best, probability = self._identifier.classify(text)
        if best in self._accepted or probability < _CERTAIN:
            return False
        return dict(self._identifier.rank(text)).get(self._code, 0.0) < _EXCLUDED


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
