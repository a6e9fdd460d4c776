"""Weights of corpora: how often an epoch contains each pair, and in which batches."""

from collections import Counter

import numpy as np
import pytest

from allyouneed.data.batches import BatchOrder, Position
from allyouneed.data.corpora import as_corpora, corpus
from allyouneed.data.mixture import Mixture, mixture_of
from allyouneed.data.store import open_store, write_store
from allyouneed.data.tokens.token_ids import token_ids
from allyouneed.errors import UserError

SIZES = 200, 80, 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("store")
    pairs = [(rng.integers(4, 99, rng.integers(1, 30)), [5] * rng.integers(1, 30)) for _ in range(300)]
    write_store(folder, [(token_ids(source), token_ids(target)) for source, target in [zip(*pairs, strict=True)]])
    return open_store(folder)


def order(store, *weights: float) -> BatchOrder:
    return BatchOrder(store, 200, seed=3, mixture=mixture_of(SIZES, weights))


def corpus_counts(pairs: np.ndarray) -> tuple[int, ...]:
    return tuple(np.histogram(pairs, bins=np.cumsum((0, *SIZES)))[0].tolist())


def test_a_weight_of_one_gives_the_same_batches_as_one_corpus(store):
    plain = BatchOrder(store, 200, seed=3)
    for weighted, batch in zip(order(store, 1, 1, 1).epoch_batches(4), plain.epoch_batches(4), strict=True):
        assert weighted.tolist() == batch.tolist()


@pytest.mark.parametrize("weights", [(1, 2, 10), (0.5, 1, 3), (0.25, 0.5, 2.5), (2, 2, 2), (1.3, 0.01, 7)])
def test_an_epoch_contains_each_pair_as_often_as_its_weight(store, weights):
    pairs = np.concatenate(order(store, *weights).epoch_batches(0))
    assert corpus_counts(pairs) == tuple(max(1, round(n * w)) for n, w in zip(SIZES, weights, strict=True))
    counts, starts = Counter(pairs.tolist()), np.cumsum((0, *SIZES))
    for size, weight, start in zip(SIZES, weights, starts, strict=False):
        each = [counts[pair] for pair in range(start, start + size)]
        assert set(each) <= {int(weight), int(np.ceil(weight))}


def test_fractions_are_drawn_anew_so_that_every_pair_is_used(store):
    mixed = order(store, 0.25, 1, 1)
    epochs = [set(np.concatenate(mixed.epoch_batches(epoch)).tolist()) & set(range(200)) for epoch in range(24)]
    assert all(len(drawn) == 50 for drawn in epochs)
    assert len(set.union(*epochs)) > 195  # of 200; 0.75^24 of them, 0.2 pairs, are expected to be missing
    occurrences = Counter(pair for drawn in epochs for pair in drawn)
    assert 3 < np.std(list(occurrences.values())) ** 2 < 6  # binomial: 24 * 0.25 * 0.75 = 4.5


def test_copies_of_a_pair_are_in_different_batches_and_batches_mix_corpora(store):
    batches = BatchOrder(store, 1000, seed=3, mixture=mixture_of(SIZES, (1, 2, 10))).epoch_batches(0)
    assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
    assert len(batches) >= 10
    assert all(sum(count > 0 for count in corpus_counts(batch)) == 3 for batch in batches if len(batch) > 30)


def test_rounds_have_the_same_shares_of_all_corpora():
    rounds = Mixture(SIZES, (1, 2, 10)).rounds(np.random.default_rng(0))
    assert [corpus_counts(pairs) for pairs in rounds] == [(20, 16, 20)] * 10


def test_a_position_identifies_a_batch(store):
    mixed, position, seen = order(store, 0.5, 1, 3), Position(), []
    per_epoch = len(mixed.epoch_batches(0))
    for _ in range(per_epoch + 3):
        pairs, position = mixed.next(position)
        seen.append(pairs.tolist())
    assert position == Position(1, 3)
    assert order(store, 0.5, 1, 3).next(Position(1, 2))[0].tolist() == seen[-1]
    assert order(store, 0.5, 1, 3).epoch_batches(1)[0].tolist() != seen[0]


def test_weights_are_given_as_text_or_numbers():
    files = [["a", "b"], ["c", "d"]]
    assert [each.weight for each in as_corpora(files, "2, .5")] == [2, 0.5]
    assert [each.weight for each in as_corpora(files, [3, 1])] == [3, 1]
    assert as_corpora(["a", "b"], "2") == (corpus("a", "b", weight=2.0),)


@pytest.mark.parametrize(
    "weights", ["", "2,", "2,0", "-1,1", "nan,1", "inf,1", "1001,1", "2;1", [2, None], ["x", 1], 3]
)
def test_weights_that_are_no_numbers_above_zero_are_refused(weights):
    with pytest.raises(UserError, match="give a number above 0, at most 1,000, for each corpus"):
        as_corpora([["a", "b"], ["c", "d"]], weights)


def test_there_is_one_weight_for_each_corpus():
    with pytest.raises(UserError, match="3 weights for 2 corpora: give one for each --train"):
        as_corpora([["a", "b"], ["c", "d"]], "1,2,3")
