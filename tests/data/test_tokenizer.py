import unicodedata

import pytest

from allyouneed.data.tokenizer import BOS, EOS, PAD, UNK, learn_tokenizer, load_tokenizer
from allyouneed.errors import UserError

TEXT = ["the dog runs", "the cat sleeps", "개가 달린다", "고양이가 잔다"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return learn_tokenizer(TEXT, 320)


def test_round_trip(tokenizer):
    for text in ("the dog sleeps", "고양이가 달린다", "unseen: ☃ 龍 𝄞"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_any_text_is_encoded_without_unknown_tokens(tokenizer):
    assert UNK not in tokenizer.encode("☃ \u0007 龍")


def test_decomposed_korean_is_composed(tokenizer):
    decomposed = unicodedata.normalize("NFD", "고양이가")
    assert tokenizer.encode(decomposed) == tokenizer.encode("고양이가")


def test_control_tokens_are_not_decoded(tokenizer):
    ids = tokenizer.encode("the dog")
    assert tokenizer.decode([BOS, *ids, EOS, PAD, PAD]) == "the dog"


def test_a_vocabulary_size_too_large_for_the_text_is_reduced(tokenizer):
    assert 256 < len(learn_tokenizer(TEXT, 30_000)) < 1000


def test_training_is_deterministic():
    assert learn_tokenizer(TEXT, 320).model == learn_tokenizer(TEXT, 320).model


def test_no_text():
    with pytest.raises(UserError, match="no text"):
        learn_tokenizer(["", ""], 320)


@pytest.mark.parametrize("subwords", ["bpe", "unigram"])
def test_the_smallest_possible_vocabulary_size_is_reported(subwords):
    with pytest.raises(UserError, match=r"vocab_size = 20 is too small: .* alone require (\d+)\.$") as caught:
        learn_tokenizer(TEXT, 20, subwords)
    smallest = int(str(caught.value).removesuffix(".").split()[-1])
    assert len(learn_tokenizer(TEXT, smallest, subwords)) == smallest


def test_a_word_vocabulary_too_small_for_bytes():
    with pytest.raises(UserError, match=r"data\.vocab_size = 20 does not fit this corpus"):
        learn_tokenizer(TEXT, 20, "word")


def test_a_word_vocabulary_spells_unknown_words():
    tokenizer = learn_tokenizer(TEXT, 300, "word")
    assert tokenizer.pieces(tokenizer.encode("the dog")) == ["▁the", "▁dog"]
    for text in ("the hen", "hen", "the hen runs", "a hen"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("content", [b"nonsense", b"", None])
def test_not_a_model(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(UserError, match=f"missing, or not a SentencePiece model. For a RUN, delete {tmp_path}"):
        load_tokenizer(tmp_path / "tokenizer.model")


def test_a_vocabulary_too_small_for_the_bytes():
    with pytest.raises(UserError, match=r"^data\.vocab_size = 100 is too small: .* alone require \d+"):
        learn_tokenizer(TEXT, 100)
