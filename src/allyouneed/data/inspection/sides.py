"""Detection of sides that are swapped, copied or in another language than they should be.

The sides of a pair are told apart by the scripts of their languages. Where both languages have one script, character
trigrams of the corpus itself show which side a line belongs to, as in language identification (Cavnar and Trenkle
1994): a line that is much more likely on the other side is in the other language. Frequent words show whether a whole
side is in another language than it should be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from allyouneed.data.cleaning.characters import script_letters, without_placeholders
from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.findings import Finding, examples_of
from allyouneed.data.inspection.frequent_words import FREQUENT_WORDS
from allyouneed.languages import describe_language, is_in_several_scripts, primary, same_language, script_of

_FEW = 20  # pairs; fewer do not show which side a line belongs to
_FEWEST = 3  # lines in another language that are reported; names and foreign words may look like it
_CHARACTERS = 80  # of a line that are examined
_LETTERS = 4  # that a line must have
_BUCKETS = 1 << 15  # hashed trigrams
_CLEAR = 12.0  # nats by which a line must be more likely on the other side
_IN_SCRIPT = 0.1  # share of letters in a script beside Latin letters, which occur in text of every script
_WORDS_EXAMINED = 20_000
_MIN_WORDS = 400
_FREQUENT = 0.04  # share of frequent words in a side that is in their language
_TIMES = 3.0  # as many as those of the expected language
_CHECK = "Check the files, and the languages of --from and --to."
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_ANY_LETTER = re.compile(r"[^\W\d_]")


def side_findings(pairs: Sequence[RawPair], languages: tuple[str, str], exchange: str) -> list[Finding]:
    """Report pairs whose sides are equal, swapped, or in one language.

    Args:
        pairs: The pairs to examine.
        languages: Codes of the source and the target language.
        exchange: What to do if the sides of the whole corpus are swapped, as a sentence.
    """
    one_language = primary(languages[0]) == primary(languages[1])
    copied = [pair for pair in pairs if pair.source == pair.target and _ANY_LETTER.search(pair.source)]
    findings = []
    if copied:
        remedy = "A model trained on copies copies."
        if not one_language:
            remedy = "Remove them, or translate them: a model trained on copies copies."
        fault = "source and target are equal"
        findings.append(Finding(fault, len(copied), len(pairs), examples_of(copied), remedy, not one_language))
    different = [pair for pair in pairs if pair.source != pair.target]
    if one_language or len(different) < _FEW:
        return findings
    source, target = (None if is_in_several_scripts(code) else _pattern(script_of(code)) for code in languages)
    if source and target and source[1] != target[1]:
        labels = _labels_by_script(different, source, target)
        names = [f"the script of {describe_language(code)}" for code in languages]
        swapped = _swapped(different, labels, names, exchange)
        return [*findings, *swapped, *_script_findings(different, labels == -2, languages)]
    foreign = np.array(
        [
            [_is_in_other_script(pair.source, source) for pair in different],
            [_is_in_other_script(pair.target, target) for pair in different],
        ]
    )
    labels = _labels_by_trigrams(different)
    in_order = [pair for pair, first, second in zip(different, *labels, strict=True) if (first, second) != (1, 0)]
    return [
        *findings,
        *_script_findings(different, foreign, languages),
        *_word_findings(in_order, languages, exchange),
        *_swapped(different, labels, [describe_language(code) for code in languages], exchange),
    ]


def _swapped(pairs: Sequence[RawPair], labels: np.ndarray, names: Sequence[str], exchange: str) -> list[Finding]:
    """Report swapped and untranslated pairs.

    Args:
        pairs: The pairs.
        labels: Side that each line belongs to: 0 for the source, 1 for the target, -1 if unknown, shape [2, pairs].
        names: What lines of each side are in: a language or its script.
        exchange: What to do if most are swapped.
    """
    some = "Exchange the sides of these lines."
    cases = {
        "source and target are swapped": (labels[0] == 1) & (labels[1] == 0),
        f"both sides are in {names[0]}": (labels[0] == 0) & (labels[1] == 0),
        f"both sides are in {names[1]}": (labels[0] == 1) & (labels[1] == 1),
    }
    findings = []
    for number, (fault, mask) in enumerate(cases.items()):
        affected = [pair for pair, is_affected in zip(pairs, mask, strict=True) if is_affected]
        if len(affected) >= _FEWEST:
            most = 2 * len(affected) > len(pairs)
            remedy = (exchange if most else some) if number == 0 else _CHECK if most else "Translate or remove them."
            findings.append(Finding(fault, len(affected), len(pairs), examples_of(affected), remedy))
    return findings


def _script_findings(pairs: Sequence[RawPair], foreign: np.ndarray, languages: tuple[str, str]) -> list[Finding]:
    """Report lines that are in none of the expected scripts, marked in an array of shape [2, pairs]."""
    findings = []
    for name, code, is_foreign in zip(("source", "target"), languages, foreign, strict=True):
        affected = [pair for pair, each in zip(pairs, is_foreign, strict=True) if each]
        if len(affected) >= _FEWEST:
            fault = f"the {name} is not in the script of {describe_language(code)}"
            findings.append(Finding(fault, len(affected), len(pairs), examples_of(affected), _CHECK))
    return findings


def _is_in_other_script(text: str, pattern: tuple[re.Pattern[str], str] | None) -> bool:
    text = without_placeholders(text[:_CHARACTERS])
    letters = len(_ANY_LETTER.findall(text))
    return pattern is not None and letters >= _LETTERS and len(pattern[0].findall(text)) < _IN_SCRIPT * letters


def _pattern(script: str) -> tuple[re.Pattern[str], str] | None:
    """Return a pattern for a letter of a script, and the letters; None for other scripts."""
    letters = script_letters(script)
    return (re.compile(f"[{letters}]"), letters) if letters else None


def _labels_by_script(
    pairs: Sequence[RawPair], source: tuple[re.Pattern[str], str], target: tuple[re.Pattern[str], str]
) -> np.ndarray:
    """Return the side that each line belongs to, -1 for too few letters, and -2 for another script."""
    latin = script_letters("latn")
    labels = np.full((2, len(pairs)), -1)
    for index, pair in enumerate(pairs):
        for side, text in enumerate((pair.source, pair.target)):
            text = without_placeholders(text[:_CHARACTERS])
            letters = len(_ANY_LETTER.findall(text))
            if letters < _LETTERS:
                continue
            first, second = (len(pattern.findall(text)) for pattern, _ in (source, target))
            if source[1] == latin:
                belongs = 1 if second >= _IN_SCRIPT * letters else 0
            elif target[1] == latin:
                belongs = 0 if first >= _IN_SCRIPT * letters else 1
            else:
                belongs = int(second > first)
            labels[side, index] = -2 if first + second < _IN_SCRIPT * letters else belongs
    return labels


def _labels_by_trigrams(pairs: Sequence[RawPair]) -> np.ndarray:
    """Return the side that each line belongs to by character trigrams, and -1 where they do not show it clearly."""
    sides = [_Trigrams([pair.source for pair in pairs]), _Trigrams([pair.target for pair in pairs])]
    swapped = np.zeros(len(pairs), dtype=bool)
    for clear in (1.0, 1.0, 1.0, _CLEAR):  # swapped lines blur the counts, and are then counted on the right side
        counts = [sides[0].counts(~swapped) + sides[1].counts(swapped),
                  sides[1].counts(~swapped) + sides[0].counts(swapped)]  # fmt: skip
        first, second = ((count + 0.5) / (count.sum() + 0.5 * _BUCKETS) for count in counts)
        scores = np.array([side.scores(np.log(first / second)) for side in sides])
        swapped = (scores[0] < -clear) & (scores[1] > clear)
    return np.where(scores > _CLEAR, 0, np.where(scores < -_CLEAR, 1, -1))


class _Trigrams:
    """Hashed character trigrams of lines.

    Attributes:
        hashes: Bucket of each trigram, shape [trigrams].
        line: Line of each trigram, shape [trigrams].
    """

    def __init__(self, lines: Sequence[str]):
        text = "\n".join(f"  {line[:_CHARACTERS].lower()}" for line in lines) + "\n"
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
        codes = np.where((codes >= 33) & (codes <= 64), 32, codes)  # digits and punctuation of ASCII
        self.count = len(lines)
        self.line = np.cumsum(codes == 10)[:-2]
        mixed = codes[:-2] * np.uint32(2654435761) + codes[1:-1] * np.uint32(40503) + codes[2:] * np.uint32(97)
        self.hashes = (mixed >> np.uint32(17)).astype(np.int64)

    def counts(self, lines: np.ndarray) -> np.ndarray:
        return np.bincount(self.hashes[lines[np.minimum(self.line, self.count - 1)]], minlength=_BUCKETS)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(self.line, weights=weights[self.hashes], minlength=self.count)[: self.count]


def _word_findings(pairs: Sequence[RawPair], languages: tuple[str, str], exchange: str) -> list[Finding]:
    """Report a side whose frequent words are those of another language."""
    codes = [primary(code) for code in languages]
    sides = [pair.source for pair in pairs], [pair.target for pair in pairs]
    found = [_language_of(side, code) for side, code in zip(sides, codes, strict=True)]
    if found == codes[::-1]:
        fault = "source and target are swapped"
        return [Finding(fault, len(pairs), len(pairs), examples_of(pairs), exchange)]
    findings = []
    for name, code, language in zip(("source", "target"), codes, found, strict=True):
        if language and not same_language(language, code):
            fault = f"the {name} seems to be in {describe_language(language)}, not {describe_language(code)}"
            findings.append(Finding(fault, len(pairs), len(pairs), examples_of(pairs), _CHECK, refused=False))
    return findings


def _language_of(lines: Sequence[str], expected: str) -> str | None:
    """Return the language whose frequent words a text has, if they are clearly more than those of the expected one."""
    if expected not in FREQUENT_WORDS:
        return None
    step = max(1, len(lines) * 10 // _WORDS_EXAMINED)
    words = Counter(word for line in lines[::step] for word in _WORD.findall(line[:_CHARACTERS].lower()))
    total = sum(words.values())
    if total < _MIN_WORDS:
        return None
    shares = {code: sum(map(words.__getitem__, frequent)) / total for code, frequent in FREQUENT_WORDS.items()}
    best = max(shares, key=shares.__getitem__)
    clear = shares[best] >= max(_FREQUENT, _TIMES * shares[expected])
    return best if clear else None
