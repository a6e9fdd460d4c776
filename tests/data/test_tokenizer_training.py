import random
import re

import pytest

from allyouneed.data.tokens.tokenizer import UNK
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.errors import UserError

TEXT = ["the dog runs", "the cat sleeps", "개가 달린다", "고양이가 잔다"] * 20
HOSTILE = [
    "a\tb",
    "x\u3000y",
    "  a  b ",
    "\u2028z",
    "a\u00a0b",
    "▁x",
    "<s> </s> <unk>",
    "😀👍🏽",
    "\x00\x01a",
    "e\u0301",
]


def chinese(pairs: int, characters: int, seed: int = 1) -> list[str]:
    """Return sentences with many characters, most of them rare, and English sentences."""
    rng = random.Random(seed)
    weights = [1 / rank for rank in range(1, characters + 1)]
    sentences = []
    for _ in range(pairs):
        ideographs = rng.choices(range(0x4E00, 0x4E00 + characters), weights, k=rng.randint(5, 20))
        sentences += ["".join(map(chr, ideographs)), " ".join(rng.choices(["the", "dog", "sleeps", "runs"], k=6))]
    return sentences


def test_a_vocabulary_size_too_large_for_the_text_is_reduced():
    assert 256 < len(learn_tokenizer(TEXT, 30_000)) < 1000


def test_training_is_deterministic():
    assert learn_tokenizer(TEXT, 320).model == learn_tokenizer(TEXT, 320).model


def test_no_text():
    with pytest.raises(UserError, match="no text"):
        learn_tokenizer(["", ""], 320)


@pytest.mark.parametrize("subwords", ["bpe", "unigram"])
def test_the_smallest_possible_vocabulary_size_is_reported(subwords):
    with pytest.raises(UserError, match=r"vocab_size = 20 is too small: .* alone require (\d+)\. Give") as caught:
        learn_tokenizer(TEXT, 20, subwords)
    smallest = int(re.search(r"require (\d+)", str(caught.value))[1])
    assert len(learn_tokenizer(TEXT, smallest, subwords)) == smallest


def test_a_word_vocabulary_too_small_for_bytes():
    with pytest.raises(UserError, match=r"vocab_size = 20 is too small: bytes alone require 261\."):
        learn_tokenizer(TEXT, 20, "word")


def test_a_word_vocabulary_spells_unknown_words():
    tokenizer = learn_tokenizer(TEXT, 300, "word")
    assert tokenizer.pieces(tokenizer.encode("the dog")) == ["▁the", "▁dog"]
    for text in ("the hen", "hen", "the hen runs", "a hen"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("subwords", ["bpe", "unigram", "word"])
@pytest.mark.parametrize(
    "sentences", [chinese(300, 2000), chinese(100, 2000), chinese(3, 2000), ["a"], HOSTILE], ids=len
)
@pytest.mark.parametrize("vocab_size", [16, 300, 1000, 37_000])
def test_an_adjustable_size_fits_every_text(subwords, sentences, vocab_size):
    tokenizer = learn_tokenizer(sentences, vocab_size, subwords, adjustable=True)
    for text in sentences[:50]:
        assert UNK not in tokenizer.encode(text)
    assert learn_tokenizer(sentences, len(tokenizer), subwords, adjustable=False).model == tokenizer.model


@pytest.mark.parametrize("subwords", ["bpe", "unigram"])
def test_an_adjustable_size_leaves_room_for_subwords(subwords):
    """Just enough for the characters would spell English letter by letter."""
    sentences = chinese(500, 2000)
    with pytest.raises(UserError, match=r"require (\d+)") as caught:
        learn_tokenizer(sentences, 1000, subwords)
    smallest = int(re.search(r"require (\d+)", str(caught.value))[1])
    tokenizer = learn_tokenizer(sentences, smallest, subwords, adjustable=True)
    assert tokenizer.pieces(tokenizer.encode("the dog sleeps")) == ["▁the", "▁dog", "▁sleeps"]


def test_the_alternative_that_is_named_for_a_small_size_suffices():
    sentences = chinese(500, 1500)
    with pytest.raises(UserError, match=r"--set data\.character_coverage=0\.\d+\.$") as caught:
        learn_tokenizer(sentences, 900)
    coverage = float(str(caught.value).removesuffix(".").rpartition("=")[2])
    tokenizer = learn_tokenizer(sentences, 900, character_coverage=coverage)
    assert len(tokenizer) == 900
    assert [tokenizer.decode(tokenizer.encode(text)) for text in sentences] == sentences
