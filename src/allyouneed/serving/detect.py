"""Language identification among the served source languages, by py3langid's byte n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from allyouneed.languages import primary


class DetectedLanguage(NamedTuple):
    """A language code and its confidence, 0 to 100."""

    language: str
    confidence: float


class LanguageDetector:
    """Identifies the language of a text.

    Args:
        languages: Candidate codes. Candidates unknown to py3langid are chosen only if it knows none of them.
    """

    def __init__(self, languages: Sequence[str]):
        self._languages = list(languages)
        self._labels: dict[str, str] = {}  # py3langid's label of each candidate that it knows
        if len(languages) < 2:
            return
        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        base_codes = {code: primary(code) for code in languages}
        self._labels = {code: base for code, base in base_codes.items() if base in self._identifier.labels}
        if self._labels:
            self._identifier.set_languages(sorted(set(self._labels.values())))

    def rank(self, text: str) -> list[DetectedLanguage]:
        """Return the candidates, most likely first.

        For a text without letters, only the first candidate is returned, with confidence 0.
        """
        if not any(character.isalpha() for character in text):
            return [DetectedLanguage(self._languages[0], 0.0)]
        if not self._labels:
            return [DetectedLanguage(self._languages[0], 100.0 if len(self._languages) == 1 else 0.0)]
        probabilities = dict(self._identifier.rank(text))
        ranked = [DetectedLanguage(code, round(100 * probabilities[label], 1)) for code, label in self._labels.items()]
        return sorted(ranked, key=lambda detected: -detected.confidence)

    def detect(self, text: str) -> DetectedLanguage:
        """Return the most likely candidate."""
        return self.rank(text)[0]
