import numpy as np
import pytest

from allyouneed.insight.words import join_subwords, links_of, spans_of, split_sentence, words_of


@pytest.mark.parametrize(
    ("text", "pieces", "characters"),
    [
        ("a dog.", "▁a ▁d og .", ["a", "d", "og", "."]),
        (" two  words", "▁two ▁ words", ["two", "", "words"]),
        ("x 😀 y", "▁x ▁ <0xF0> <0x9F> <0x98> <0x80> ▁y", ["x", "", "", "", "", "😀", "y"]),
        ("한국", "▁ 한 <0xEA> <0xB5> <0xAD>", ["", "한", "", "", "국"]),
    ],
)
def test_characters_of_each_token(text, pieces, characters):
    assert [text[begin:end] for begin, end in spans_of(pieces.split(), text)] == characters


def test_tokens_and_characters_of_words(translator):
    text = "abc  de 😀 fg"
    words = words_of(translator.tokenizer, text, "aa")
    assert [text[word.begin : word.end] for word in words] == ["abc", "de", "😀", "fg"]
    assert words[0].first == 0
    assert [word.last for word in words[:-1]] == [word.first for word in words[1:]]
    assert words[-1].last == len(translator.tokenizer.encode(text))


def test_punctuation_is_split_off_and_entities_are_decoded(small):
    sentence = split_sentence(small.tokenizer, "a dog, it &apos;s red.", "en")
    assert sentence.words == ["a", "dog", ",", "it", "'s", "red", ".", "</s>"]
    assert len(sentence.starts) == len(sentence.words)
    assert sentence.starts[-1] == len(sentence.ids) - 1
    assert split_sentence(small.tokenizer, "", "en").words == ["</s>"]


def test_without_spaces_each_token_is_a_word(small):
    sentence = split_sentence(small.tokenizer, "red dog", "zh")
    assert sentence.starts == list(range(len(sentence.ids)))


def test_word_attention_sums_over_keys_and_averages_over_queries():
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(join_subwords(weights, [0, 2]), [[0.7, 0.3], [0.4, 0.6]])
    np.testing.assert_allclose(join_subwords(weights, [0, 1, 2], [0]), [[1], [1], [1]])
    np.testing.assert_allclose(join_subwords(weights[None], [0], [0, 1]).shape, (1, 1, 2))


def test_target_words_are_linked_to_the_largest_weight():
    weights = np.array([[0.5, 0.3, 0.1, 0.1], [0.1, 0.5, 0.3, 0.1], [0.1, 0.1, 0.2, 0.6]])  # the last row: </s>
    assert links_of(weights, source=[0, 1, 3], target=[0, 1, 2]) == [(0, 0, 0.5), (1, 1, pytest.approx(0.8))]
    assert links_of(np.ones((1, 1)), source=[0], target=[0]) == []
