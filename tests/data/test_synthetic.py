"""Korean and English dates: translations written by hand, and the properties of the split."""

from datetime import date, datetime

import pytest

from allyouneed.data.synthetic import DateCorpus, DatePair, date_forms, make_dates, number_words

SUNDAY = date(2026, 11, 22)
WITH_WEEKDAY = """\
2026년 11월 22일 일요일
2026년 11월 22일 (일)
2026년 11월 22일(일)
2026. 11. 22. 일요일
2026. 11. 22. (일)
2026-11-22(일)
2026.11.22(일)
26년 11월 22일 일요일
'26. 11. 22.(일)
26.11.22(일)
이천이십육년 십일월 이십이일 일요일
이천이십육 년 십일월 이십이 일 일요일"""
WITHOUT_WEEKDAY = """\
2026년 11월 22일
2026년11월22일
2026. 11. 22.
2026-11-22
2026/11/22
2026.11.22
20261122
26. 11. 22.
26년 11월 22일
'26. 11. 22.
’26.11.22.
26.11.22
26/11/22
261122
이천이십육년 십일월 이십이일
이천이십육 년 십일월 이십이 일"""

# Month and day have one digit, so that each notation of this date differs.
THURSDAY = {
    "2005년 6월 9일 목요일", "2005년 6월 9일", "2005. 6. 9.", "05. 6. 9.", "2005. 6. 9. (목)",
    "2005. 6. 9. 목요일", "2005년 6월 9일 (목)", "2005년 06월 09일", "2005년6월9일",
    "2005년 6월 9일(목)", "2005년 06월 09일 목요일", "2005-06-09", "2005-06-09(목)", "2005/06/09",
    "2005/6/9", "2005.06.09", "2005.6.9", "2005.06.09(목)", "20050609", "05년 6월 9일",
    "05년 6월 9일 목요일", "'05. 6. 9.", "'05. 6. 9.(목)", "’05.6.9.", "05.06.09", "05.06.09(목)",
    "05/06/09", "050609", "이천오년 유월 구일", "이천오년 유월 구일 목요일",
    "이천오 년 유월 구 일", "이천오 년 유월 구 일 목요일",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus() -> DateCorpus:
    return make_dates()


def day_of(pair: DatePair) -> date:
    """Parse the English date without Babel."""
    return datetime.strptime(" ".join(pair.target.split()[-3:]), "%B %d, %Y").date()


def test_a_date_in_each_notation() -> None:
    pairs = {form.write(SUNDAY) for form in date_forms()}
    assert pairs == {
        *((source, "Sunday, November 22, 2026") for source in WITH_WEEKDAY.splitlines()),
        *((source, "November 22, 2026") for source in WITHOUT_WEEKDAY.splitlines()),
    }
    assert {form.write(date(2005, 6, 9)).source for form in date_forms()} == THURSDAY
    assert len(date_forms()) == len(THURSDAY) == 32


@pytest.mark.parametrize(
    ("day", "words", "english"),
    [
        (date(1900, 1, 1), "천구백년 일월 일일", "January 1, 1900"),
        (date(1910, 8, 29), "천구백십년 팔월 이십구일", "August 29, 1910"),
        (date(1970, 6, 30), "천구백칠십년 유월 삼십일", "June 30, 1970"),
        (date(1999, 12, 31), "천구백구십구년 십이월 삼십일일", "December 31, 1999"),
        (date(2000, 10, 10), "이천년 시월 십일", "October 10, 2000"),
        (date(2005, 2, 11), "이천오년 이월 십일일", "February 11, 2005"),
        (date(2016, 6, 6), "이천십육년 유월 육일", "June 6, 2016"),
        (date(2099, 3, 20), "이천구십구년 삼월 이십일", "March 20, 2099"),
    ],
)
def test_dates_in_words(day: date, words: str, english: str) -> None:
    assert (words, english) in {form.write(day) for form in date_forms()}


def test_the_digit_one_is_omitted_only_before_a_unit() -> None:
    assert [number_words(n) for n in (1, 10, 11, 111, 1111)] == ["일", "십", "십일", "백십일", "천백십일"]


def test_two_digit_years_are_unambiguous(corpus: DateCorpus) -> None:
    fitting = {
        year: sum(form.fits(date(year, 5, 5)) for form in date_forms()) for year in (1900, 1969, 1970, 2069, 2070, 2099)
    }
    assert fitting == {1900: 22, 1969: 22, 1970: 32, 2069: 32, 2070: 22, 2099: 22}
    full, short = set(), set()
    for pair in corpus.train:
        year = day_of(pair).year
        written_in_full = pair.source.startswith((str(year), number_words(year)))
        (full if written_in_full else short).add(year)
    assert full == set(range(1900, 2100))
    assert short == set(range(1970, 2070))


def test_a_source_has_one_translation(corpus: DateCorpus) -> None:
    pairs = corpus.train + corpus.valid + corpus.test
    assert len({pair.source for pair in pairs}) == len(pairs)
    assert all(pair.target.startswith(f"{day_of(pair):%A}, ") for pair in pairs if "요일" in pair.source)


def test_counts(corpus: DateCorpus) -> None:
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [20_000, 300, 1_000]
    small = make_dates(train_pairs=5, valid_pairs=0, test_pairs=32)
    assert [len(small.train), len(small.valid), len(small.test)] == [5, 0, 32]


def test_no_date_is_in_two_sets(corpus: DateCorpus) -> None:
    train, valid, test = ({day_of(pair) for pair in pairs} for pairs in (corpus.train, corpus.valid, corpus.test))
    assert len(train | valid | test) == len(train) + len(valid) + len(test)


def test_the_test_set_has_each_notation(corpus: DateCorpus) -> None:
    for pairs in (corpus.test, make_dates(train_pairs=0, test_pairs=32).test):
        for form in date_forms():
            assert any(form.fits(day_of(pair)) and form.write(day_of(pair)) == pair for pair in pairs)


def test_the_corpus_depends_on_the_seed(corpus: DateCorpus) -> None:
    assert make_dates() == corpus
    assert make_dates(seed=2, train_pairs=10).test != corpus.test
    assert make_dates(train_pairs=10, valid_pairs=10).test == corpus.test


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="test_pairs is 31: use at least 32"):
        make_dates(test_pairs=31)
    with pytest.raises(ValueError, match="1000000 pairs are more than 7304 dates provide: at most"):
        make_dates(valid_pairs=1_000_000)
