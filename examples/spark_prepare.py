"""Prepare a corpus with Spark, on one machine or on a cluster, as `allyouneed train` does.

python examples/spark_prepare.py FOLDER TRAIN VALID SOURCE TARGET [SECTION.NAME=VALUE ...]
allyouneed train --data FOLDER --train TRAIN --valid VALID --from SOURCE --to TARGET --recipe base --out RUN
"""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from pyspark.sql import SparkSession

import allyouneed
from allyouneed.data import PreparedBlock, RawPair
from allyouneed.data.corpora import corpus
from allyouneed.data.prepare import prepare

spark = SparkSession.builder.appName("allyouneed").getOrCreate()


def with_spark(
    prepare_block: Callable[[list[RawPair]], PreparedBlock], blocks: Iterable[list[RawPair]]
) -> Iterator[PreparedBlock]:
    """Apply a function to blocks of 10,000 pairs, of which Spark has 100 at a time, and keep their order."""
    waiting = map(pickle.dumps, blocks)
    while some := list(islice(waiting, 100)):
        sent = spark.sparkContext.parallelize(some, len(some))
        prepared = sent.mapPartitions(lambda part: (pickle.dumps(prepare_block(pickle.loads(each))) for each in part))
        yield from map(pickle.loads, prepared.collect())


if len(sys.argv) < 6:
    sys.exit(f"usage: python {sys.argv[0]} FOLDER TRAIN VALID SOURCE TARGET [SECTION.NAME=VALUE ...]")
folder, train, valid = map(Path, sys.argv[1:4])
data = allyouneed.load_recipe("base").override(sys.argv[6:]).data
prepare(folder, [corpus(train)], [corpus(valid)], data, print, languages=(sys.argv[4], sys.argv[5]), engine=with_spark)
