"""Prepare a corpus with Ray Data, on one machine or on a cluster, as `allyouneed train` does.

python examples/ray_prepare.py FOLDER TRAIN VALID SOURCE TARGET [SECTION.NAME=VALUE ...]
allyouneed train --data FOLDER --train TRAIN --valid VALID --from SOURCE --to TARGET --recipe base --out RUN
"""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import ray

import allyouneed
from allyouneed.data import PreparedBlock, RawPair
from allyouneed.data.corpora import corpus
from allyouneed.data.prepare import prepare


def with_ray(
    prepare_block: Callable[[list[RawPair]], PreparedBlock], blocks: Iterable[list[RawPair]]
) -> Iterator[PreparedBlock]:
    """Apply a function to blocks of 10,000 pairs, of which Ray has 100 at a time, and keep their order."""
    waiting = map(pickle.dumps, blocks)
    while some := [{"block": block} for block in islice(waiting, 100)]:
        sent = ray.data.from_items(some, override_num_blocks=len(some))
        prepared = sent.map(lambda row: {"block": pickle.dumps(prepare_block(pickle.loads(row["block"])))})
        yield from (pickle.loads(row["block"]) for row in prepared.iter_rows())


if len(sys.argv) < 6:
    sys.exit(f"usage: python {sys.argv[0]} FOLDER TRAIN VALID SOURCE TARGET [SECTION.NAME=VALUE ...]")
ray.data.DataContext.get_current().execution_options.preserve_order = True
folder, train, valid = map(Path, sys.argv[1:4])
data = allyouneed.load_recipe("base").override(sys.argv[6:]).data
prepare(folder, [corpus(train)], [corpus(valid)], data, print, languages=(sys.argv[4], sys.argv[5]), engine=with_ray)
