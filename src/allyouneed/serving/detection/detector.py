"""Language identification: among all languages that py3langid knows, and of those, the ones that are served.

The identifier's probabilities (Lui and Baldwin 2012) are combined with the share of the text's letters that are in the
script of a language, and with a prior for the served languages. Hence "네" is Korean although it is too short for
n-grams, and a confidence is that of the language among all languages, not among those that happen to be served.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from typing import NamedTuple

import regex
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from allyouneed.languages import canonical_code, is_in_several_scripts, primary, script_of
from allyouneed.serving.detection.everyday_phrases import languages_of_phrase
from allyouneed.translation.protection import find_kept, has_letters, without_spans

_EXAMINED, _EXAMINED_FOR_SCRIPTS = 2000, 500  # characters of a text
_PRIOR = 4.0  # of a served language, relative to one that is not
_RARE = 0.1  # prior of a language that is not widely used, or is no language of today
_PHRASE = 100.0  # weight of a language in which a short text is an everyday phrase
_WIDELY_USED = frozenset((
    "ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "ga", "gl",
    "he", "hi", "hr", "hu", "id", "it", "ja", "ko", "ky", "lt", "lv", "ms", "no", "nl", "pl", "pt", "ro", "ru",
    "sk", "sl", "sq", "sr", "sv", "th", "tl", "tr", "uk", "ur", "vi", "zh",
))  # fmt: skip
_NO_LANGUAGE = "zxx"
_FOREIGN = 1e-3  # weight of a language in whose script no letter is
_CERTAIN = 50.0  # confidence from which a language that is not served is believed
_EXCLUDED = 5.0  # confidence of all possible languages together below which none of them is believed
_SELDOM_TARGET = 3  # how much more often an uncertain text is in a source language than in the target language
_LISTED = 1.0  # lowest confidence in a ranking
# Written alike: a model of one of them translates the others.
_ALIKE = (
    ("nb", "nn", "no", "da"), ("hr", "bs", "sr", "sh"), ("id", "ms"), ("zh", "yue", "wuu"), ("ar", "arz", "ary"),
    ("he", "hbo"), ("el", "grc"),
)  # fmt: skip
_SCRIPT_NAMES = {"hans": "Han", "hant": "Han", "jpan": "Han Hiragana Katakana", "kore": "Hangul", "hani": "Han"}


class DetectedLanguage(NamedTuple):
    """A language code and its confidence, 0 to 100."""

    language: str
    confidence: float

    @property
    def is_certain(self) -> bool:
        """Whether the language is more likely than all others together."""
        return self.confidence >= _CERTAIN


class LanguageDetector:
    """Identifies the language of a text.

    Args:
        languages: Served codes; if several name one language, those that come first are preferred.
    """

    def __init__(self, languages: Sequence[str]):
        self._served = list(dict.fromkeys(languages))
        labels = [label for label in _identifier().labels if label != _NO_LANGUAGE]
        by_language: dict[str, list[str]] = defaultdict(list)
        for code in self._served:
            by_language[primary(code)].append(code)
        self._codes = {label: by_language.get(primary(label)) or _served_alike(label, by_language) for label in labels}
        self._names = {label: canonical_code(label) or label for label in labels}
        known = {code for codes in self._codes.values() for code in codes}
        self._unknown = [code for code in self._served if code not in known]

    def rank(self, text: str) -> list[DetectedLanguage]:
        """Return the languages of a text, served or not, most likely first; those of at least 1 %, or the first one.

        For a text without letters, and if none of the served languages is known to the identifier, it is a served
        language with confidence 0.
        """
        ranked = [] if self._unknown == self._served else self._ranked(text)
        return [each for each in ranked if each.confidence >= _LISTED] or ranked[:1] or self._undecided(self._served)

    def detect(self, text: str, possible: Collection[str], target: str | None = None) -> DetectedLanguage:
        """Return the most likely language of a text.

        Args:
            text: The text.
            possible: Served codes that can be translated, the preferred ones first.
            target: The code among them that the text is to be translated into. As a text to translate is seldom in it
                already, an uncertain text is in the most likely other one if that is at least a third as likely.

        Returns:
            One of the possible languages with its real confidence, however low; or another one, served or not, if it
            is certain that the text is in none of them. A possible language that the identifier does not know is
            returned with confidence 0 if no other possible one is most likely.
        """
        ranked = self._ranked(text)
        unknown = [code for code in possible if code in self._unknown]
        if not ranked or (unknown and ranked[0].language not in possible):
            return self._undecided(unknown or list(possible))[0]
        best = ranked[0]
        likely = [each for each in ranked if each.language in possible]
        is_excluded = best.is_certain or sum(each.confidence for each in likely) < _EXCLUDED
        chosen = best if best.language in possible or is_excluded else likely[0]
        if chosen.language != target or chosen.is_certain:
            return chosen
        other = next((each for each in likely if each.language != target), chosen)
        return other if _SELDOM_TARGET * other.confidence >= chosen.confidence else chosen

    def _undecided(self, codes: Sequence[str]) -> list[DetectedLanguage]:
        return [DetectedLanguage(codes[0], 0.0)]

    def _ranked(self, text: str) -> list[DetectedLanguage]:
        """Return all languages of the identifier, most likely first; [] for a text without letters."""
        text = text[:_EXAMINED]
        text = without_spans(text, find_kept(text))
        if not has_letters(text):
            return []
        scripts, phrase = _Scripts(text), languages_of_phrase(text)
        weights: dict[str, float] = defaultdict(float)
        for label, probability in _identifier().rank(text):
            if label == _NO_LANGUAGE:
                continue
            weight = probability * max(scripts.share(label), _FOREIGN) * (_PHRASE if label in phrase else 1)
            if codes := self._codes[label]:
                weights[scripts.variety(codes)] += _PRIOR * weight
            else:
                weights[self._names[label]] += weight if label in _WIDELY_USED else _RARE * weight
        total = sum(weights.values())
        ranked = [DetectedLanguage(code, round(100 * weight / total, 1)) for code, weight in weights.items()]
        return sorted(ranked, key=lambda detected: -detected.confidence)


class _Scripts:
    """The scripts of a text's letters."""

    def __init__(self, text: str):
        self._text = text[:_EXAMINED_FOR_SCRIPTS]
        self._letters = max(1, len(_LETTERS.findall(self._text)))
        self._shares: dict[str, float] = {}

    def share(self, language: str) -> float:
        """Return the share of letters that are in the script of a language; 1 if it is written in several."""
        script = _script(language)
        if script and script not in self._shares:
            self._shares[script] = len(_letters(script).findall(self._text)) / self._letters
        return self._shares.get(script, 1.0)

    def variety(self, codes: Sequence[str]) -> str:
        """Return the code of the script of the text, of several codes for one language; else the first one."""
        if len(codes) == 1:
            return codes[0]
        if {"hans", "hant"} & set(map(script_of, codes)):
            wanted = "hant" if self._is_traditional() else "hans"
            return next((code for code in codes if script_of(code) == wanted), codes[0])
        return max(codes, key=self.share)

    def _is_traditional(self) -> bool:
        """Return whether Chinese is written in traditional characters: those that mainland China's encoding lacks."""
        return _encodable(self._text, "big5") > _encodable(self._text, "gb2312")


_LETTERS = regex.compile(r"[\p{L}\p{M}]")


@cache
def _script(language: str) -> str:
    """Return the script of a language, see `script_of`; "" if it is written in several."""
    return "" if is_in_several_scripts(language) else script_of(language)


@cache
def _letters(script: str) -> regex.Pattern[str]:
    names = _SCRIPT_NAMES.get(script, script.capitalize()).split()
    return regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in names) + r"\p{Script=Inherited}]")


def _encodable(text: str, encoding: str) -> int:
    return len(text.encode(encoding, "ignore").decode(encoding))


def _served_alike(label: str, served: dict[str, list[str]]) -> list[str]:
    """Return the served codes of a language that is written like a label's."""
    language = primary(label)
    return next((served[other] for group in _ALIKE if language in group for other in group if other in served), [])


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
