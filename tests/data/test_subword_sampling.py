"""Subword regularisation, compared with SentencePiece's own segmentation and sampling, and with its definition."""

import math
from collections import Counter

import numpy as np
import pytest
import sentencepiece

from allyouneed import kernels
from allyouneed.config import DataConfig
from allyouneed.data.store import PairStore, Sentences
from allyouneed.data.tokens.sentencepiece_model import read_model
from allyouneed.data.tokens.subword_sampling import PairSampler, SubwordSampler, sentence_seeds
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.data.tokens.vocabulary import Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from tests.data.test_tokenizer_training import chinese

TEXT = [
    *["lower the newest widest lowest lamp", "the newer the lower the wider", "das Haus ist höher als das höchste Haus"]
    * 5,
    *chinese(40, 60),
]
HOSTILE = ["<2de> lower 龘 𝄞 a<2de>b", "", "lower", "\u00a0low\u3000er", "aaaaaaaaaaaaaaaa", "lowest" * 30]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request):
    return learn_tokenizer(TEXT, 460, request.param, 1.0, ["<2de>"], adjustable=True)


def stored(tokenizer, texts):
    encoded = tokenizer.encode_all(texts)
    return Sentences(
        np.array([i for ids in encoded for i in ids], dtype=np.int32),
        np.cumsum([0, *map(len, encoded)], dtype=np.int64),
    )


def sampled(tokenizer, texts, strength, step=1, max_length=10_000):
    sentences = stored(tokenizer, texts)
    chosen = np.arange(len(texts))
    found = SubwordSampler(tokenizer, strength, max_length).sample(
        sentences, chosen, sentence_seeds(1, step, chosen, 0)
    )
    return [found[i].tolist() for i in range(len(found))]


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_the_text_is_unchanged(tokenizer, strength):
    texts = [*TEXT, *HOSTILE]
    for ids, usual in zip(sampled(tokenizer, texts, strength), tokenizer.encode_all(texts), strict=True):
        assert tokenizer.decode(ids) == tokenizer.decode(usual)
    assert sampled(tokenizer, texts, strength) != tokenizer.encode_all(texts)


def test_bytes_and_symbols_stay_whole(tokenizer):
    [ids] = sampled(tokenizer, HOSTILE[:1], 1.0)
    pieces = tokenizer.pieces(ids)
    assert pieces.count("<2de>") == 2
    assert pieces.count("<0xF0>") == 1


def test_bpe_without_dropout_is_sentencepieces_segmentation():
    tokenizer = learn_tokenizer(TEXT, 460, "bpe", adjustable=True)
    texts = [*TEXT, *HOSTILE]
    assert sampled(tokenizer, texts, 0.0) == tokenizer.encode_all(texts)


def test_bpe_with_full_dropout_is_characters():
    tokenizer = learn_tokenizer(TEXT, 460, "bpe")
    assert tokenizer.pieces(sampled(tokenizer, ["lower the"], 1.0)[0]) == list("▁lower▁the")


def test_segmentations_are_distributed_as_sentencepieces(tokenizer):
    """Shares of each segmentation of a word among 4,000, against as many drawn by SentencePiece."""
    draws, strength = 4000, 0.3
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    theirs = Counter(
        tuple(processor.encode("lowest", enable_sampling=True, alpha=strength, nbest_size=-1)) for _ in range(draws)
    )
    ours = Counter(map(tuple, sampled(tokenizer, ["lowest"] * draws, strength)))
    assert len(ours) > 2
    for segmentation in theirs | ours:
        difference = ours[segmentation] - theirs[segmentation]
        assert abs(difference) < 5 * math.sqrt(ours[segmentation] + theirs[segmentation])


def test_unigram_segmentations_have_their_probabilities():
    """Kudo 2018, equation 8, computed from all segmentations of a word."""
    tokenizer, alpha, draws = learn_tokenizer(TEXT, 460, "unigram", adjustable=True), 0.4, 20_000
    scores = {piece.text: piece.score for piece in read_model(tokenizer.model).pieces if piece.score < 0}

    def segmentations(text):
        if not text:
            yield ()
        for end in range(1, len(text) + 1):
            if text[:end] in scores:
                yield from ((text[:end], *rest) for rest in segmentations(text[end:]))

    weights = {pieces: math.exp(alpha * sum(map(scores.get, pieces))) for pieces in segmentations("▁lowest")}
    found = Counter(tuple(tokenizer.pieces(ids)) for ids in sampled(tokenizer, ["lowest"] * draws, alpha))
    assert found.keys() <= weights.keys()
    for pieces, weight in weights.items():
        expected = draws * weight / sum(weights.values())
        assert abs(found[pieces] - expected) < 5 * math.sqrt(expected) + 1


@pytest.mark.skipif(not kernels.installed(), reason="Numba is not installed")
@pytest.mark.parametrize("strength", [0.1, 0.9])
def test_compiled_and_python_agree(tokenizer, strength, monkeypatch):
    compiled = sampled(tokenizer, TEXT[:30] + HOSTILE, strength)
    monkeypatch.setattr(kernels, "installed", lambda: False)
    assert sampled(tokenizer, TEXT[:30] + HOSTILE, strength) == compiled


def test_a_sample_that_is_too_long_is_replaced(tokenizer):
    usual = tokenizer.encode_all(TEXT)
    longest = max(map(len, usual))
    found = sampled(tokenizer, TEXT, 0.9, max_length=longest)
    assert max(map(len, found)) <= longest
    assert any(ids == own for ids, own in zip(found, usual, strict=True))
    assert found != usual


def test_samples_depend_on_step_and_pair_alone(tokenizer):
    store = PairStore(stored(tokenizer, TEXT), stored(tokenizer, TEXT[::-1]))
    sampler = PairSampler(tokenizer, DataConfig(subword_sampling=0.3, max_length=1000), seed=1)
    whole = sampler.sample(store, np.arange(len(TEXT)), 7)
    for pairs in (np.arange(0, len(TEXT), 2), np.array([9, 3]), np.array([], dtype=np.int64)):
        part = sampler.sample(store, pairs, 7)
        for side in ("source", "target"):
            for row, pair in enumerate(pairs):
                assert getattr(part, side)[row].tolist() == getattr(whole, side)[pair].tolist()
    other = sampler.sample(store, np.arange(len(TEXT)), 8)
    assert other.source.ids.tolist() != whole.source.ids.tolist()
    assert len({tuple(ids) for ids in sampled(tokenizer, ["lowest newest widest"] * 50, 0.2)}) > 2


@pytest.mark.parametrize("side", ["source", "target"])
def test_one_side_only(tokenizer, side):
    store = PairStore(stored(tokenizer, TEXT), stored(tokenizer, TEXT))
    data = DataConfig(subword_sampling=0.5, sampled_side=side, max_length=1000)
    found = PairSampler(tokenizer, data, seed=1).sample(store, np.arange(len(TEXT)), 7)
    for name in ("source", "target"):
        assert (getattr(found, name).ids.tolist() == store.source.ids.tolist()) == (name != side)


def test_tokenizers_without_alternatives():
    tokenizer = learn_tokenizer(TEXT, 300, "char")
    with pytest.raises(UserError, match="a tokenizer of kind char has only one segmentation"):
        SubwordSampler(tokenizer, 0.1, 100)
    imported = VocabularyTokenizer(tokenizer.model, Vocabulary(["<pad>", "<unk>", "<s>", "</s>"], [0, 1, 2, 3]))
    with pytest.raises(UserError, match="an imported vocabulary cannot be segmented at random"):
        SubwordSampler(imported, 0.1, 100)


def test_separate_vocabularies(tokenizer):
    other = learn_tokenizer(TEXT, 500, adjustable=True)
    both = Tokenizer(tokenizer.model, other)
    store = PairStore(stored(both, TEXT), stored(both.target, TEXT))
    found = PairSampler(both, DataConfig(subword_sampling=0.4, max_length=1000), 1).sample(
        store, np.arange(len(TEXT)), 1
    )
    assert [both.target.decode(found.target[i]) for i in range(len(TEXT))] == TEXT
