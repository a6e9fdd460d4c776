import unicodedata

import pytest

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK, load_tokenizer
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
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


@pytest.mark.parametrize("content", [b"nonsense", b"", None])
def test_not_a_model(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(UserError, match=f"missing, or not a SentencePiece model. For a RUN, delete {tmp_path}"):
        load_tokenizer(tmp_path / "tokenizer.model")
