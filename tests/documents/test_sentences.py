import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st

from allyouneed.documents.sentences import join_sentences, single_sentence, split_sentences


@given(st.text(), st.sampled_from(["en", "de", "ko", "ja", "xx"]))
def test_spacing_is_preserved(text, language):
    for segments in (split_sentences(text, language), single_sentence(text)):
        assert join_sentences(segments, [segment.sentence for segment in segments]) == text
        assert all(segment.sentence == segment.sentence.strip() for segment in segments)


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "Mr. Smith left. He ran.\nNew line", ["Mr. Smith left.", "He ran.", "New line"]),
        ("de", "Das ist z.B. neu. Er kam 1990. Gut!", ["Das ist z.B. neu.", "Er kam 1990.", "Gut!"]),
        ("ko", "안녕하세요. 저는 학생입니다! 뭐라고요?", ["안녕하세요.", "저는 학생입니다!", "뭐라고요?"]),
        ("ko", "오늘은 2026. 11. 22. 일요일입니다.", ["오늘은 2026. 11. 22. 일요일입니다."]),
        ("ja", "こんにちは。元気ですか？", ["こんにちは。", "元気ですか？"]),
    ],
)
def test_sentence_boundaries(language, text, sentences):
    assert [s.sentence for s in split_sentences(text, language) if s.sentence] == sentences


@pytest.mark.parametrize("mark", ["\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\0\n", "\u2028 "])
def test_line_breaks_of_unicode_and_nuls_are_kept_between_texts(mark):
    text = f"{mark}a dog{mark} runs.{mark}Now{mark}"
    pieces = split_sentences(text, "en")
    assert [piece.sentence for piece in pieces if piece.sentence] == ["a dog", "runs.", "Now"]
    new = ["X" if piece.sentence else "" for piece in pieces]
    assert join_sentences(pieces, new) == f"{mark}X{mark} X{mark}X{mark}"


def test_a_long_line_is_split_at_the_same_sentence_ends():
    """Windows do not change the sentences, wherever they are cut."""
    sentences = [f"Sentence {'number ' * (number % 40)}of Mr. Smith ends." for number in range(300)]
    assert [each.sentence for each in split_sentences(" ".join(sentences), "en")] == sentences


def test_a_line_without_sentence_ends_is_cut_between_words():
    line = "word " * 5000
    pieces = split_sentences(line, "en")
    assert join_sentences(pieces, [piece.sentence for piece in pieces]) == line
    assert {word for piece in pieces for word in piece.sentence.split()} == {"word"}


@pytest.mark.parametrize("unit", ["`", "![", "<!--", '." ', "1. ", "A. ", "(", "“"])
def test_sentencex_gets_short_texts_only(unit, monkeypatch):
    """Its time is quadratic for some of these, and it blocks all other threads of Python."""
    given_to_it = []
    segment = sentencex.segment
    monkeypatch.setattr(
        sentencex, "segment", lambda language, text: given_to_it.append(text) or segment(language, text)
    )
    split_sentences(unit * (50_000 // len(unit)), "en")
    assert max(map(len, given_to_it)) <= 4000
    assert sum(map(len, given_to_it)) <= 2 * 50_000
