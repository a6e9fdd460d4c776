import pytest
from hypothesis import given
from hypothesis import strategies as st

from allyouneed.serving.sentences import join, split, whole


@given(st.text(), st.sampled_from(["en", "de", "ko", "ja", "xx"]))
def test_nothing_is_lost_between_sentences(text, language):
    for pieces in (split(text, language), whole(text)):
        assert join(pieces, [piece.sentence for piece in pieces]) == text
        assert all(piece.sentence == piece.sentence.strip() for piece in pieces)


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
def test_sentences(language, text, sentences):
    assert [piece.sentence for piece in split(text, language) if piece.sentence] == sentences
