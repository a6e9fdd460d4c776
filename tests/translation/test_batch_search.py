"""Division of sentences into batches for several workers."""

from __future__ import annotations

import numpy as np
import pytest

from allyouneed.config import SearchConfig
from allyouneed.data.batches import token_batches
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.options import SearchOptions


def batches_of(lengths, workers: int, beam_size: int = 4, is_wide: bool = False) -> list[np.ndarray]:
    lengths = np.asarray(lengths)
    search = BatchSearch(SearchOptions(beam_size=beam_size).resolve(SearchConfig()))
    return token_batches(lengths, lengths, search._batch_tokens(lengths, workers, is_wide))


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("count", [2, 10, 96, 200])
def test_few_sentences_are_divided_equally_among_the_workers(count, workers):
    batches = batches_of([25] * count, workers)
    sizes = [len(batch) for batch in batches]
    rounds = -(-len(batches) // workers)
    assert rounds * max(sizes) <= 1.25 * count / workers + 1


def test_one_worker_gets_batches_of_the_given_size():
    assert [len(batch) for batch in batches_of([64] * 40, workers=1)] == [16, 16, 8]  # 4,096 tokens / 4 hypotheses


def test_many_sentences_make_at_least_eight_batches_per_worker_of_at_least_512_tokens():
    assert [len(batch) for batch in batches_of([16] * 3200, workers=2)] == [64] * 50
    assert len(batches_of([16] * 800, workers=2)) == 16
    assert len(batches_of([16] * 80_000, workers=2, beam_size=1)) > 16


def test_wide_models_share_a_reading_of_the_weights_among_more_rows():
    assert [len(batch) for batch in batches_of([16] * 320, workers=2, beam_size=1)] == [32] * 10
    assert [len(batch) for batch in batches_of([16] * 320, workers=2, beam_size=1, is_wide=True)] == [40] * 8


def test_an_empty_request_and_very_long_sentences():
    assert batches_of(np.zeros(0, dtype=np.int64), workers=2) == []
    assert [len(batch) for batch in batches_of([5000, 5000, 3], workers=2)] == [1, 1, 1]
