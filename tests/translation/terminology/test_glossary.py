"""Glossaries: which terms are found where, and in which form."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.translation.terminology.glossary import Entry, Glossary
from allyouneed.translation.terminology.words import units_of


def glossary(source: str, **terms: str) -> Glossary:
    return Glossary(tuple(Entry(*term) for term in terms.items()), source, "und")


def found(terms: Glossary, text: str, kept=()) -> list[tuple[str, str]]:
    return [(text[slice(*term.span)], term.target) for term in terms.find(text, kept)]


@pytest.mark.parametrize(
    ("language", "term", "text", "match"),
    [
        ("de", "Hund", "Ein Hund rennt.", "Hund"),
        ("de", "Hund", "Zwei Hunde rennen.", "Hunde"),
        ("de", "Haus", "Die Häuser sind rot.", "Häuser"),
        ("de", "Hund", "Die Hundehütte ist leer.", None),
        ("de", "Hund", "Der HUND bellt.", "HUND"),
        ("de", "maschinelle Übersetzung", "Die maschinellen  Übersetzungen hier", "maschinellen  Übersetzungen"),
        ("en", "dog", "Dogs bark.", "Dogs"),
        ("en", "company", "The company's name", "company"),
        ("en", "Word", "a word", None),
        ("en", "word", "Word processing", "Word"),
        ("en", "US", "tell us", None),
        ("en", "us", "the US economy", "US"),
        ("en", "organ", "this organization", None),
        ("en", "C++", "in C++ and C", "C++"),
        ("en", ".NET", "on .NET today", ".NET"),
        ("en", "cat", "concatenate", None),
        ("fr", "entreprise", "l’entreprise est", "entreprise"),
        ("ru", "собака", "вижу собаку", "собаку"),
        ("fi", "talo", "taloissammekin", "taloissammekin"),
        ("xx", "hund", "hunde", None),
        ("zh", "机器翻译", "我喜欢机器翻译。", "机器翻译"),
        ("zh", "API", "使用API接口", "API"),
        ("zh", "API", "使用APIs接口", None),
        ("ja", "テスト", "テストを書く", "テスト"),
        ("ja", "テスト", "プロテストする", None),
        ("th", "ภาษาไทย", "ฉันพูดภาษาไทยได้", "ภาษาไทย"),
        ("ko", "기계 번역", "기계 번역은 빠르다", "기계 번역"),
        ("ko", "회사", "회사에서는 일한다", "회사"),
        ("ko", "회사", "회사원이 온다", None),
        ("ko", "회사", "회사들의 이름", "회사"),
        ("ko", "API", "API는 좋다", "API"),
        ("hi", "नमस्ते", "नमस्ते दुनिया", "नमस्ते"),
        ("vi", "ti\u1ebfng Vi\u1ec7t", "ti\u00ea\u0301ng Vi\u1ec7t nha", "ti\u00ea\u0301ng Vi\u1ec7t"),
    ],
)
def test_terms_are_found_in_the_forms_of_their_language(language, term, text, match):
    assert [each for each, _ in found(Glossary((Entry(term, "X"),), language), text)] == ([match] if match else [])


def test_the_longest_term_is_used():
    terms = Glossary(
        (Entry("data", "A"), Entry("data base", "B"), Entry("base system", "C"), Entry("system", "D")), "en"
    )
    assert found(terms, "a data base system") == [("base system", "C"), ("data", "A")][::-1]
    assert found(terms, "a data base of data") == [("data base", "B"), ("data", "A")]


def test_an_entry_in_the_same_form_is_used_before_others():
    terms = Glossary((Entry("polish", "polieren"), Entry("Polish", "polnisch"), Entry("polished", "poliert")), "en")
    assert found(terms, "polish Polish polished POLISH") == [
        ("polish", "polieren"),
        ("Polish", "polnisch"),
        ("polished", "poliert"),
        ("POLISH", "POLIEREN"),
    ]


def test_the_first_of_several_translations_is_used():
    assert found(Glossary((Entry("dog", "A"), Entry("dog", "B")), "en"), "dog") == [("dog", "A")]


def test_kept_parts_are_not_terms():
    terms = Glossary((Entry("name", "Name"),), "en")
    assert found(terms, "{name} is my name", [(0, 6)]) == [("name", "Name")]
    assert terms.find("{name} is my name", [(0, 6)])[0].span == (13, 17)
    assert found(terms, "{name}", [(3, 3)]) == [("name", "Name")]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from(["de", "ko", "ja", "th", "und"]))
def test_units_are_the_whole_text(text, language):
    units = units_of(text, language)
    assert "".join(text[unit.start : unit.end] for unit in units) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcÄß 가나한漢字カナ.-'", min_size=1), min_size=1), st.text("abcÄß 가나한漢字カナ.-'"))
def test_terms_do_not_overlap_and_are_in_order(terms, text):
    entries = tuple(Entry(term.strip(), "X") for term in terms if term.strip())
    spans = [term.span for term in Glossary(entries, "de").find(text)]
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_many_terms_are_found_in_time_that_does_not_depend_on_their_number():
    entries = tuple(Entry(f"data number {i}", str(i)) for i in range(5_000))
    terms = Glossary(entries, "en")
    terms.build_index()
    text = "data number 4999 and data number 7. " * 50
    started = time.process_time()
    assert len(terms.find(text)) == 100
    assert time.process_time() - started < 0.5


def test_terms_may_contain_what_is_kept_elsewhere():
    terms = glossary("en", **{"README.md": "LIESMICH.md", "{x} file": "Datei {x}", "{y} file": "Datei", "com": "x"})
    for text, kept, expected in (
        ("see README.md now", ((4, 13),), [("README.md", "LIESMICH.md")]),
        ("a {x} file", ((2, 5),), [("{x} file", "Datei {x}")]),
        ("a {y} file", ((2, 5),), []),
        ("at example.com", ((3, 14),), []),
        ("see my/README.md now", ((4, 16),), []),
    ):
        assert found(terms, text, kept) == expected, text


def test_capitals_leave_placeholders_and_tags_of_the_translation():
    terms = glossary("en", dog="<b>Hund</b> %s {name} http://x.de")
    assert found(terms, "The DOG") == [("DOG", "<b>HUND</b> %s {name} http://x.de")]
    assert found(terms, "The dog") == [("dog", "<b>Hund</b> %s {name} http://x.de")]
