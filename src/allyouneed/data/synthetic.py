"""A synthetic corpus: Korean dates in everyday notations and their English translations.

It can be learnt in minutes, and each date has exactly one correct translation, so that exact match is a fair metric.

    '26. 11. 22.(일)                ->  Sunday, November 22, 2026
    이천이십육년 십일월 이십이일    ->  November 22, 2026
"""

import re
from dataclasses import dataclass
from datetime import date
from itertools import cycle
from random import Random
from typing import NamedTuple

from babel import Locale
from babel.dates import format_date

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2099, 12, 31)
TWO_DIGIT_YEARS = range(1970, 2070)  # a hundred years, in which two digits are unambiguous

# Korean notations that the Unicode locale data (CLDR, read by Babel) defines by name.
STANDARD_FORMS = ("full", "long", "medium", "short")
SKELETON_FORMS = ("yMEd", "yMEEEEd", "yMMMEd")
# Everyday notations that it does not define, as patterns of Unicode TR 35 ('' is an apostrophe).
OTHER_FORMS = (
    "y년 MM월 dd일", "y년M월d일", "y년 M월 d일(EEE)", "y년 MM월 dd일 EEEE",
    "y-MM-dd", "y-MM-dd(EEE)", "y/MM/dd", "y/M/d", "y.MM.dd", "y.M.d", "y.MM.dd(EEE)", "yMMdd",
    "yy년 M월 d일", "yy년 M월 d일 EEEE", "''yy. M. d.", "''yy. M. d.(EEE)", "’yy.M.d.",
    "yy.MM.dd", "yy.MM.dd(EEE)", "yy/MM/dd", "yyMMdd",
)  # fmt: skip
# The last two follow the spacing of the standard dictionary: a month is one word, a year and a day are two.
WORD_FORMS = ("y년 M월 d일", "y년 M월 d일 EEEE", "y 년 M월 d 일", "y 년 M월 d 일 EEEE")

DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")


class DatePair(NamedTuple):
    """A Korean date and its English translation."""

    source: str
    target: str


class DateForm(NamedTuple):
    """A notation for dates in Korean.

    Attributes:
        pattern: Pattern of Unicode TR 35.
        in_words: Whether numbers are written as words instead of digits.
    """

    pattern: str
    in_words: bool = False

    def fits(self, day: date) -> bool:
        """Return whether this notation determines the century of `day`."""
        return "yy" not in self.pattern or day.year in TWO_DIGIT_YEARS

    def write(self, day: date) -> DatePair:
        """Write a date in this notation and in American English, both with or both without the weekday."""
        source = format_date(day, self.pattern, locale="ko")
        target = format_date(day, "full" if "E" in self.pattern else "long", locale="en_US")
        return DatePair(_spell(source) if self.in_words else source, target)


@dataclass(frozen=True)
class DateCorpus:
    """Pairs for training, validation and test; no date occurs in more than one list, in any notation."""

    train: list[DatePair]
    valid: list[DatePair]
    test: list[DatePair]


def date_forms() -> tuple[DateForm, ...]:
    """Return all notations that `make_dates` uses, first with numbers as digits, then as words."""
    korean = Locale("ko")
    named = [korean.date_formats[name].pattern for name in STANDARD_FORMS]
    named += [korean.datetime_skeletons[name].pattern for name in SKELETON_FORMS]
    return (
        *(DateForm(pattern) for pattern in (*named, *OTHER_FORMS)),
        *(DateForm(pattern, in_words=True) for pattern in WORD_FORMS),
    )


def make_dates(seed: int = 1, train_pairs: int = 20_000, valid_pairs: int = 300, test_pairs: int = 1_000) -> DateCorpus:
    """Generate Korean dates from 1900-01-01 to 2099-12-31 with their English translations.

    One tenth of the dates is reserved for validation and another for test, whatever the number of pairs. Pairs are
    distinct, and the notations alternate. Source: the Korean and American locales of Unicode's CLDR.

    Args:
        seed: Seed of the corpus; the result also depends on the version of Babel.
        train_pairs: Number of training pairs, at most about 900,000.
        valid_pairs: Number of validation pairs, at most about 100,000.
        test_pairs: Number of test pairs, at most about 100,000.

    Raises:
        ValueError: If `test_pairs` is smaller than the number of notations, or a number of pairs is too large.
    """
    forms = date_forms()
    if test_pairs < len(forms):
        raise ValueError(
            f"test_pairs is {test_pairs}: use at least {len(forms)}, so that each of the "
            f"{len(forms)} notations occurs in the test"
        )
    random = Random(seed)
    days = [date.fromordinal(n) for n in range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1)]
    random.shuffle(days)
    tenth = len(days) // 10
    # The test set is drawn first, so that it does not depend on the sizes of the others.
    test = _draw(random, forms, days[:tenth], test_pairs)
    valid = _draw(random, forms, days[tenth : 2 * tenth], valid_pairs)
    train = _draw(random, forms, days[2 * tenth :], train_pairs)
    return DateCorpus(train, valid, test)


def number_words(number: int) -> str:
    """Return a number from 1 to 9999 in Sino-Korean words, for example 이천이십육 for 2026 and 천구백십 for 1910."""
    words = ""
    for digit, unit in zip(map(int, f"{number:04}"), ("천", "백", "십", ""), strict=True):
        if digit:
            words += unit if unit and digit == 1 else DIGITS[digit] + unit
    return words


def _spell(text: str) -> str:
    """Replace the numbers of a Korean date by words."""
    words = re.sub(r"\d+", lambda digits: number_words(int(digits[0])), text)
    return words.replace("육월", "유월").replace("십월", "시월")  # June and October are irregular


def _draw(random: Random, forms: tuple[DateForm, ...], days: list[date], count: int) -> list[DatePair]:
    """Draw `count` distinct pairs, alternating the notations, each with a date that it fits."""
    choices = {form: [day for day in days if form.fits(day)] for form in forms}
    limit = len(forms) * min(map(len, choices.values()))
    if count > limit:
        raise ValueError(f"{count} pairs are more than {len(days)} dates provide: at most {limit}")
    pairs: dict[DatePair, None] = {}  # a set would not preserve the order
    alternating = cycle(forms)
    while len(pairs) < count:
        form = next(alternating)
        pairs[form.write(random.choice(choices[form]))] = None
    drawn = list(pairs)
    random.shuffle(drawn)
    return drawn
