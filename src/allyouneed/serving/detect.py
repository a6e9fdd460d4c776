"""Which language a text is in, among those that are served: py3langid's byte n-grams, nothing of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Guess(NamedTuple):
    """confidence: 0 to 100."""

    language: str
    confidence: float


class Detector:
    """languages: codes that can be answers; those that py3langid does not know only if there is no other."""

    def __init__(self, languages: Sequence[str]):
        self._languages, self._known = list(languages), {}
        if len(languages) < 2:  # nothing to tell apart
            return
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        plain = {code: code.partition("-")[0] for code in languages}
        self._known = {code: known for code, known in plain.items() if known in self._identifier.labels}
        if self._known:
            self._identifier.set_languages(sorted(set(self._known.values())))

    def guesses(self, text: str) -> list[Guess]:
        """Best first. A text without any letter gives the first language with confidence 0."""
        if not any(letter.isalpha() for letter in text):
            return [Guess(self._languages[0], 0.0)]
        if not self._known:
            return [Guess(self._languages[0], 100.0 if len(self._languages) == 1 else 0.0)]
        ranked = dict(self._identifier.rank(text))
        found = [Guess(code, round(100 * ranked[known], 1)) for code, known in self._known.items()]
        return sorted(found, key=lambda guess: -guess.confidence)

    def best(self, text: str) -> Guess:
        return self.guesses(text)[0]
