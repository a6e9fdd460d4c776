import pytest
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
