import numpy as np
import pytest
import torch

from allyouneed.data.batches import BatchOrder, Position, collate, pad, share, token_batches
from allyouneed.data.store import open_store, write_store
from allyouneed.data.tokens.token_ids import token_ids
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD

STORED = {
    "counts": [44, 44, 44],
    "first": [[23, 40, 207, 129, 247, 294, 167], [219, 102, 44, 270, 232, 230, 106, 68], [195, 100, 3, 65, 21, 74]],
}  # by commit 2f72b40


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(4, 99, rng.integers(1, 30)), rng.integers(4, 99, rng.integers(1, 30))) for _ in range(300)]
    write_store(tmp_path, [(token_ids(source), token_ids(target)) for source, target in [zip(*pairs, strict=True)]])
    return open_store(tmp_path)


def test_each_epoch_has_each_pair_once_within_the_token_budget(store):
    order = BatchOrder(store, 200, seed=1)
    batches = order.epoch_batches(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    for pairs in batches:
        longest = max(int(side.lengths_with_end[pairs].max()) for side in (store.source, store.target))
        assert longest * len(pairs) <= 200


def test_lengths_in_a_batch_are_similar(store):
    lengths = [side.lengths_with_end.astype(int) for side in (store.source, store.target)]
    real = lengths[1].sum()
    padded = sum(lengths[1][pairs].max() * len(pairs) for pairs in token_batches(*lengths, 400))
    assert padded < 1.1 * real


def test_order_depends_on_seed_and_epoch(store):
    def batches(seed, epoch):
        return [pairs.tolist() for pairs in BatchOrder(store, 200, seed).epoch_batches(epoch)]

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(1, 1)
    assert batches(1, 0) != batches(2, 0)


def test_resuming_at_a_position_neither_skips_nor_repeats_batches(store):
    order, position, seen = BatchOrder(store, 200, seed=1), Position(), []
    per_epoch = len(order.epoch_batches(0))
    for _ in range(per_epoch + 3):
        pairs, position = order.next(position)
        seen.append(pairs.tolist())
    assert position == Position(1, 3)
    resumed, _ = BatchOrder(store, 200, seed=1).next(Position(1, 2))
    assert resumed.tolist() == seen[-1]


def test_a_pair_over_the_budget_is_a_separate_batch():
    lengths = np.array([3, 50, 4])
    assert sorted(map(len, token_batches(lengths, lengths, 10))) == [1, 2]


def test_shares_partition_a_batch():
    pairs = np.arange(10)
    shares = [share(pairs, part, 3) for part in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(10))
    assert {len(part) for part in shares} == {3, 4}


def test_pad():
    assert pad([[5], [6, 7, 8], []]).tolist() == [[5, PAD, PAD], [6, 7, 8], [PAD, PAD, PAD]]
    assert pad([]).shape == (0, 0)
    assert pad([[5]]).dtype == torch.int64


def test_an_empty_share_is_an_empty_batch(store):
    """A global batch may have fewer pairs than ranks."""
    batch = collate(store, share(np.array([7]), 1, 2))
    assert batch.source.shape == (0, 1)
    assert batch.target_input.shape == batch.target_output.shape == (0, 1)


def test_collate_pads_and_marks_ends(tmp_path):
    write_store(tmp_path / "s", [(token_ids([[5, 6], [8]]), token_ids([[7], [9, 10]]))])
    batch = collate(open_store(tmp_path / "s"), [0, 1])
    assert batch.source.tolist() == [[5, 6, EOS], [8, EOS, PAD]]
    assert batch.target_input.tolist() == [[BOS, 7, EOS], [BOS, 9, 10]]
    assert batch.target_output.tolist() == [[7, EOS, PAD], [9, 10, EOS]]


def plain_batches(source, target, batch_tokens, random):
    """Reference: sort with Python, add pairs one by one."""
    ties = random.permutation(len(source)).tolist()
    batches, batch, longest = [], [], 0
    for pair in sorted(ties, key=lambda pair: (target[pair], source[pair])):
        with_pair = max(longest, source[pair], target[pair])
        if batch and with_pair * (len(batch) + 1) > batch_tokens:
            batches.append(batch)
            batch, with_pair = [], max(source[pair], target[pair])
        batch.append(pair)
        longest = with_pair
    return [*batches, batch] if batch else batches


@pytest.mark.parametrize("highest", [2, 40, 90_000])
@pytest.mark.parametrize("batch_tokens", [1, 50, 3000])
@pytest.mark.parametrize("count", [0, 1, 2, 900])
def test_batches_are_those_of_the_reference(count, highest, batch_tokens):
    """Runs of earlier versions are resumed with the same batches; lengths may exceed 16 bits."""
    rng = np.random.default_rng(count)
    source, target = rng.integers(1, highest, (2, count))
    found = token_batches(source, target, batch_tokens, np.random.default_rng(5))
    expected = plain_batches(source.tolist(), target.tolist(), batch_tokens, np.random.default_rng(5))
    assert [pairs.tolist() for pairs in found] == expected


def test_the_order_of_earlier_versions(store):
    """The first batches of seed 1, as they were stored before the order was computed in array operations."""
    order = BatchOrder(store, 200, seed=1)
    assert [len(order.epoch_batches(epoch)) for epoch in range(3)] == STORED["counts"]
    assert [order.epoch_batches(epoch)[0].tolist() for epoch in range(3)] == STORED["first"]
