"""Corpora that need no file.

Dates as people write them in Korean, with their English counterparts: small enough to learn in
minutes, and with one right answer each, so that exact match is a fair score.

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
TWO_DIGIT_YEARS = range(1970, 2070)  # a hundred years, so that two digits name one of them

# Korean forms that the Unicode locale data (CLDR), read through Babel, has a name for ...
STANDARD_FORMS = ("full", "long", "medium", "short")
SKELETON_FORMS = ("yMEd", "yMEEEEd", "yMMMEd")
# ... and everyday ones that it has none for, as patterns of Unicode TR 35 ('' writes ').
OTHER_FORMS = (
    "y년 MM월 dd일", "y년M월d일", "y년 M월 d일(EEE)", "y년 MM월 dd일 EEEE",
    "y-MM-dd", "y-MM-dd(EEE)", "y/MM/dd", "y/M/d", "y.MM.dd", "y.M.d", "y.MM.dd(EEE)", "yMMdd",
    "yy년 M월 d일", "yy년 M월 d일 EEEE", "''yy. M. d.", "''yy. M. d.(EEE)", "’yy.M.d.",
    "yy.MM.dd", "yy.MM.dd(EEE)", "yy/MM/dd", "yyMMdd",
)  # fmt: skip
# The last two are spaced as the dictionary wants it: a month is one word, a year and a day are two.
WORD_FORMS = ("y년 M월 d일", "y년 M월 d일 EEEE", "y 년 M월 d 일", "y 년 M월 d 일 EEEE")

DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class DateForm(NamedTuple):
    """One way to write a date in Korean: a TR 35 pattern, its numbers in digits or in words."""

    pattern: str
    in_words: bool = False

    def fits(self, day: date) -> bool:
        """Whether this form says which century `day` is in."""
        return "yy" not in self.pattern or day.year in TWO_DIGIT_YEARS

    def write(self, day: date) -> Pair:
        """`day` in this form and in American English, with the weekday if the Korean has it."""
        source = format_date(day, self.pattern, locale="ko")
        target = format_date(day, "full" if "E" in self.pattern else "long", locale="en_US")
        return Pair(_spell(source) if self.in_words else source, target)


@dataclass(frozen=True)
class DateCorpus:
    """Pairs for training, validation and test; a date in one list is in no other, in any form."""

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]


def date_forms() -> tuple[DateForm, ...]:
    """Every form that `make_dates` writes, numbers in digits first, then in words."""
    korean = Locale("ko")
    named = [korean.date_formats[name].pattern for name in STANDARD_FORMS]
    named += [korean.datetime_skeletons[name].pattern for name in SKELETON_FORMS]
    return (
        *(DateForm(pattern) for pattern in (*named, *OTHER_FORMS)),
        *(DateForm(pattern, in_words=True) for pattern in WORD_FORMS),
    )


def make_dates(seed: int = 1, train_pairs: int = 20_000, valid_pairs: int = 300, test_pairs: int = 1_000) -> DateCorpus:
    """Korean dates with their English counterparts, from 1900-01-01 to 2099-12-31.

    A tenth of the dates is kept for validation and another for test, however many pairs are asked
    for; no pair comes twice, and forms take turns. The same seed gives the same corpus
    with the same Babel. Source: the Korean and American locales of Unicode's CLDR.

    Raises ValueError if `test_pairs` leaves a form out, or if a list wants more pairs than its
    dates readily give (about 100,000 for validation and for test, 900,000 for training).
    """
    forms = date_forms()
    if test_pairs < len(forms):
        raise ValueError(
            f"test_pairs is {test_pairs}: ask for {len(forms)} or more, so that each of the "
            f"{len(forms)} forms occurs in the test"
        )
    random = Random(seed)
    days = [date.fromordinal(n) for n in range(FIRST_DAY.toordinal(), LAST_DAY.toordinal() + 1)]
    random.shuffle(days)
    tenth = len(days) // 10
    # Test first: it stays the same whatever the size of the other two.
    test = _draw(random, forms, days[:tenth], test_pairs)
    valid = _draw(random, forms, days[tenth : 2 * tenth], valid_pairs)
    train = _draw(random, forms, days[2 * tenth :], train_pairs)
    return DateCorpus(train, valid, test)


def number_words(number: int) -> str:
    """A number from 1 to 9999 in Sino-Korean words: 이천이십육 for 2026, 천구백십 for 1910."""
    words = ""
    for digit, unit in zip(map(int, f"{number:04}"), ("천", "백", "십", ""), strict=True):
        if digit:
            words += unit if unit and digit == 1 else DIGITS[digit] + unit
    return words


def _spell(text: str) -> str:
    """A Korean date with its numbers in words."""
    words = re.sub(r"\d+", lambda digits: number_words(int(digits[0])), text)
    return words.replace("육월", "유월").replace("십월", "시월")  # June and October are irregular


def _draw(random: Random, forms: tuple[DateForm, ...], days: list[date], count: int) -> list[Pair]:
    """`count` different pairs: the forms in turn, each with a day that it fits."""
    choices = {form: [day for day in days if form.fits(day)] for form in forms}
    most = len(forms) * min(map(len, choices.values()))
    if count > most:
        raise ValueError(f"{count} pairs are more than {len(days)} dates give: at most {most}")
    pairs: dict[Pair, None] = {}  # a dict keeps the order, a set does not
    turns = cycle(forms)
    while len(pairs) < count:
        form = next(turns)
        pairs[form.write(random.choice(choices[form]))] = None
    drawn = list(pairs)
    random.shuffle(drawn)
    return drawn
