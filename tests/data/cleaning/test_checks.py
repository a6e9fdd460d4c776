import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from allyouneed.config import DataConfig
from allyouneed.config.sections import CleaningCheck
from allyouneed.data.cleaning.block import CleaningRules, clean_block
from allyouneed.data.cleaning.characters import Characters, digit_table, letter_table, script_letters, script_table
from allyouneed.data.cleaning.ratio import UsualRatio, learn_ratio
from allyouneed.data.cleaning.registry import CHECKS, SETS, check_of, chosen_checks
from allyouneed.data.files.formats import RawPair
from allyouneed.errors import UserError


def reasons(check, *pairs, languages=("de", "en")):
    rows = [RawPair(number, *pair) for number, pair in enumerate(pairs, start=1)]
    return [reason is not None for reason in clean_block(rows, CleaningRules((check,), languages)).reasons]


def test_the_setting_names_all_checks_and_sets():
    pattern = next(each.pattern for each in CleaningCheck.__metadata__[0].metadata if hasattr(each, "pattern"))
    names = pattern.removeprefix("^-?(").removesuffix(")$").split("|")
    assert set(names) == CHECKS.keys() | SETS.keys()


def test_sets_and_exceptions():
    assert chosen_checks(["standard"]) == ("control", "duplicates")
    assert chosen_checks(["web"]) == tuple(CHECKS)
    assert chosen_checks(["web", "-language", "-near_duplicates"]) == tuple(
        name for name in CHECKS if name not in ("language", "near_duplicates")
    )
    assert chosen_checks(["copies", "encoding"]) == ("encoding", "copies")  # repairs come first
    assert chosen_checks([]) == ()
    assert DataConfig().cleaning == ("standard",)
    assert DataConfig(cleaning="web, -numbers").cleaning == ("web", "-numbers")
    with pytest.raises(ValueError, match="pattern"):
        DataConfig(cleaning="spelling")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("allyouneed.data.cleaning.registry.find_spec", lambda name: None)
    assert chosen_checks(["standard"])
    with pytest.raises(UserError, match=r"encoding needs ftfy.*\[corpora\].*data.cleaning=encoding,-encoding"):
        chosen_checks(["encoding"])


def test_each_reason_belongs_to_a_check():
    assert check_of("too long (over 256 subwords)") == "max_length"
    assert check_of("ratio (one side over 4 times the other)") == "max_ratio"
    assert check_of("duplicate of a pair in an earlier corpus") == check_of("duplicate") == "duplicates"
    assert check_of("fewer than 2 columns") == check_of("not UTF-8") == "file"
    assert all(check_of(check.finds) == name for name, check in CHECKS.items())


def test_copies():
    text = "Wählen Sie die Datei, die Sie öffnen möchten"
    assert reasons(
        "copies",
        (text, text),
        (text, f"{text.upper()} !!"),  # other case and punctuation
        ("the quick brown fox jumps over the lazy dog today", "the quick brown fox jumps over the lazy cat today"),
        (text, "Select the file that you want to open"),
        ("OK", "OK"),
        ("Berlin, Wien, Zürich", "Berlin, Wien, Zürich"),  # names
        ("%(first_name_of_user)s %(last_name_of_user)s", "%(first_name_of_user)s %(last_name_of_user)s"),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13", "1 2 3 4 5 6 7 8 9 10 11 12 13"),
        ("我们都喜欢在公园里散步和看书因为天气很好", "我们都喜欢在公园里散步和看书因为天气很好"),
    ) == [True, True, True, False, False, False, False, False, True]
    assert reasons("copies", (text, text), languages=("de", "de-x-simple")) == [False]


def test_different_numbers():
    assert reasons(
        "numbers",
        ("Am 3. Mai 1987 kamen 250 Gäste.", "On 16 June 2014, 38 guests came."),
        ("Am 3. Mai 1987 kamen 250 Gäste.", "On 3 May 1987, 250 guests came."),
        ("1.500.000 €", "€1,500,000.00"),
        ("٢٠١٤ عام ١٥", "15 in 2014"),
        ("drei Äpfel und 12 Birnen", "3 apples and twelve pears"),
        ("Tel. 030 123456789", "Call us now"),
        ("im Jahr 1987", "in that year"),
    ) == [True, False, False, False, False, True, False]


def test_few_letters():
    assert reasons(
        "letters",
        ("+49 (0)30 / 12 34 56 -- 78", "+49 (0)30 / 12 34 56 -- 78"),
        ("ein Haus", "||||| >>>> **** 7 7 7 7"),
        ("3,50 €", "€3.50"),  # too short to tell
        ("आप कैसे हैं, मेरे दोस्त?", "How are you, my friend?"),
        ("你好，这是一个句子。", "Hello, this is a sentence."),
        ("𠮷野家𠮷野家𠮷野家𠮷野家", "a restaurant in Japan"),
    ) == [True, True, False, False, False, False]


def test_repetition():
    assert reasons(
        "repetition",
        ("gut gut gut gut gut gut gut gut gut", "This is a very good and long sentence."),
        ("Ein Hund läuft.", "a dog a dog a dog a dog a dog a dog"),
        ("天天天天天天天天天天天天天天天天天天", "every day is a good day for a walk"),
        ("Nein, nein, nein, nein!", "No, no, no, no!"),
        ("Heilig, heilig, heilig ist der Herr", "Holy, holy, holy is the Lord"),
        ("ja ja ja ja ja ja ja ja ja", "yes yes yes yes yes yes yes yes yes"),  # on both sides
    ) == [True, True, True, False, False, False]


def test_wrong_script():
    assert reasons(
        "script",
        ("버튼을 눌러 주세요", "Press the button"),
        ("Press the button", "Press the button"),
        ("Нажмите кнопку", "Press the button"),
        ("boolean (True, False 또는 None)", "Boolean (Either True, False or None)"),
        ('<a href="https://example.org/a/very/long/address">', "See the link"),
        ("HTML 5", "HTML 5"),
        languages=("ko", "en"),
    ) == [False, True, True, False, False, False]
    assert reasons("script", ("Добар дан свима", "Good day all"), languages=("sr", "en")) == [False]


def test_wrong_language():
    english = "The committee decided yesterday that the meeting will take place in the new building."
    german = "Der Ausschuss hat gestern beschlossen, dass die Sitzung im neuen Gebäude stattfinden wird."
    polish = "Komisja zdecydowała wczoraj, że posiedzenie odbędzie się w nowym budynku."
    pairs = (german, english), (polish, english), (german, polish), (english, german), ("Hallo", "ok")
    assert reasons("language", *pairs) == [False, True, True, True, False]
    assert reasons("language", (english, german), languages=("x-klingon", "de")) == [False]


def test_the_ratio_is_learned_from_the_corpus():
    random.seed(1)
    lengths = [random.randint(5, 200) for _ in range(2000)]
    good = [RawPair(1, "x" * n, "y" * max(1, round(2.5 * n + random.gauss(0, n**0.5)))) for n in lengths]
    bad = [RawPair(1, "x" * random.randint(5, 200), "y" * random.randint(5, 400)) for _ in range(400)]
    ratio = learn_ratio([*good, *bad])
    assert ratio is not None
    assert abs(ratio.slope - 2.5) < 0.1  # bad pairs hardly matter
    rules = CleaningRules(("ratio",), ratio=ratio)
    block = clean_block([RawPair(1, "x" * 100, "y" * n) for n in (230, 250, 275, 100, 700)], rules)
    assert [reason is not None for reason in block.reasons] == [False, False, False, True, True]
    assert clean_block(good, rules).reasons.count(None) >= 1990
    assert learn_ratio(good[:50]) is None
    assert reasons("ratio", ("a", "b" * 500)) == [False]  # not known
    assert not UsualRatio(1.0, 1.0).unusual(np.array([1]), np.array([12])).any()


def test_prefixes_of_multilingual_sources_are_not_checked():
    rows = [RawPair(1, "<29999> eins", "acht 1212")]
    assert clean_block(rows, CleaningRules(("numbers",))).reasons == ["different numbers"]
    assert clean_block(rows, CleaningRules(("numbers",), prefix="<29999> ")).reasons == [None]


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.tuples(strategies.text(max_size=40), strategies.text(max_size=40)), max_size=8))
def test_each_pair_is_checked_as_if_alone(pairs):
    rows = [RawPair(number, *pair) for number, pair in enumerate(pairs)]
    checks = tuple(name for name in CHECKS if name not in ("language", "near_duplicates"))
    rules = CleaningRules(checks, ("ko", "en"), UsualRatio(1.0, 1.0))
    together = clean_block(rows, rules)
    alone = [clean_block([row], rules) for row in rows]
    assert together.pairs == [each.pairs[0] for each in alone]
    assert together.reasons == [each.reasons[0] for each in alone]
    assert together.lengths.shape == (2, len(rows))


@given(strategies.lists(strategies.text(), max_size=5))
def test_characters_are_counted_as_python_counts_them(texts):
    characters = Characters(texts)
    assert list(characters.lengths) == [len(text) for text in texts]
    assert list(characters.count(digit_table())) == [
        sum(character.isdecimal() and ord(character) < 0x20000 for character in text) for text in texts
    ]
    letters = characters.count(letter_table(), beyond=True)
    assert all(
        count >= sum(c.isalpha() and ord(c) < 0x20000 for c in text) for count, text in zip(letters, texts, strict=True)
    )


def test_ideographs_beyond_the_basic_plane_are_letters_of_chinese():
    han = script_letters("hans")
    assert han is not None
    assert list(Characters(["𠮷𠮷a", ""]).count(script_table(han), beyond=True)) == [2, 0]


def test_long_and_empty_blocks():
    rules = CleaningRules(tuple(CHECKS), ("de", "en"), UsualRatio(1.0, 1.0))
    assert clean_block([], rules).reasons == []
    clean_block([RawPair(1, "a" * 2_000_000, "&" * 2_000_000)], rules)  # linear
