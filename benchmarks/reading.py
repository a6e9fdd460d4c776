"""CPU seconds to read a TSV file of a million lines: the passes of `allyouneed train` over its text.

    python benchmarks/reading.py TSV [--lines 1000000]

The lines of the file are repeated. Compare revisions by running it in both source trees in alternation.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable
from itertools import chain, islice, repeat
from pathlib import Path

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import read_pairs


def main() -> None:
    """Print a table of CPU seconds, the best of three runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tsv", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    arguments = parser.parse_args()
    lines = arguments.tsv.read_bytes().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "text.tsv", Path(folder) / "text.tsv.gz"
        plain.write_bytes(b"".join(islice(chain.from_iterable(repeat(lines)), arguments.lines)))
        packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
        print("| file | counting | reading pairs |\n| --- | --- | --- |")
        for path in (plain, packed):
            counting = _seconds(lambda path=path: count_pairs([path]))
            reading = _seconds(lambda path=path: sum(1 for _ in read_pairs([path])))
            print(f"| {path.suffix} | {counting:.2f} | {reading:.2f} |")


def _seconds(task: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
