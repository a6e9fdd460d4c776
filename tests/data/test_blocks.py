"""`prepare_block`, compared with one pair at a time and with what `prepare` stores."""

import pickle

import numpy as np
import pytest

import allyouneed.data
from allyouneed.config import DataConfig
from allyouneed.data.blocks import in_blocks, prepare_block
from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from tests.conftest import toy_pairs

DATA = DataConfig(vocab_size=300, max_length=12, max_ratio=2)
PAIRS = [
    *(RawPair(line, *pair) for line, pair in enumerate(toy_pairs(60), 1)),
    RawPair(61, "", "x"),
    RawPair(62, "a b", "b a", "not UTF-8"),
    RawPair(63, "a " * 40, "b " * 40),
    RawPair(64, "a b c d e f g h a b", "a"),
    RawPair(65, "c d", "d c"),
    RawPair(66, "한국어", "Korean 한국어"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return learn_tokenizer([text for pair in toy_pairs(300) for text in pair], 300)


def test_each_pair_is_prepared_as_if_it_were_alone(tokenizer):
    excluded = ValidationOverlap([RawPair(1, "C  D", "d c.")])
    whole = prepare_block(PAIRS, DATA, tokenizer, excluded)
    alone = [prepare_block([pair], DATA, tokenizer, excluded) for pair in PAIRS]
    assert whole.faults == [each.faults[0] for each in alone]
    assert whole.faults[-6:] == [
        "empty side",
        "not UTF-8",
        "too long (over 12 subwords)",
        "ratio (one side over 2 times the other)",
        "in the validation text",
        "too long (over 12 subwords)",  # as bytes
    ]
    assert whole.kept == sum(each.kept for each in alone) == len(PAIRS) - sum(whole.dropped.values())
    for name in ("keys", "is_text"):
        assert getattr(whole, name).tolist() == [getattr(each, name)[0] for each in alone]
    for side in ("source", "target"):
        assert np.concatenate([getattr(each, side).ids for each in alone]).tolist() == getattr(whole, side).ids.tolist()
        assert getattr(whole, side).lengths.tolist() == [getattr(each, side).lengths[0] for each in alone]
    assert whole.source.ids[: whole.source.lengths[0]].tolist() == tokenizer.encode(PAIRS[0].source)


def test_blocks_and_their_results_can_be_sent_to_other_processes(tokenizer):
    sent, settings, model = (pickle.loads(pickle.dumps(each)) for each in (PAIRS, DATA, tokenizer))
    result = pickle.loads(pickle.dumps(prepare_block(sent, settings, model)))
    assert result.source.ids.tolist() == prepare_block(PAIRS, DATA, tokenizer).source.ids.tolist()


def test_a_block_may_be_empty(tokenizer):
    block = prepare_block([], DATA, tokenizer)
    assert (block.kept, block.faults, len(block.source.ids), len(block.target.lengths)) == (0, [], 0, 0)


def test_blocks_have_at_most_10_000_pairs_and_little_text():
    pairs = [RawPair(line, "a", "b") for line in range(25_000)]
    assert [len(block) for block in in_blocks(iter(pairs))] == [10_000, 10_000, 5000]
    long = [RawPair(line, "a" * 1_500_000, "b") for line in range(7)]
    assert [len(block) for block in in_blocks(long)] == [3, 3, 1]
    assert [pair for block in in_blocks(pairs) for pair in block] == pairs


def test_it_is_public():
    assert allyouneed.data.prepare_block is prepare_block
