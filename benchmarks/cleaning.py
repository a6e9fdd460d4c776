"""How many pairs of corpora each cleaning check drops, and how long it takes.

    python benchmarks/cleaning.py bible.de-en.tsv django.en-ko.tsv ...

On clean text, whatever is dropped is a false positive, or a fault of the text that nobody had noticed: `--examples`
shows the pairs. File names end with the languages, `NAME.SOURCE-TARGET.tsv` (possibly `.gz`).
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.cleaning.block import clean_block, cleaning_rules
from allyouneed.data.cleaning.registry import CHECKS
from allyouneed.data.duplicates import SeenBands, SeenPairs, pair_keys
from allyouneed.data.files.formats import RawPair, read_pairs

MOST_PAIRS = 8000


def found(name: str, pairs: list[RawPair], languages: tuple[str, str]) -> list[RawPair]:
    """Return the pairs that a check drops or repairs."""
    if name == "duplicates":
        reasons = SeenPairs().duplicates(pair_keys(pairs))
        return [pair for pair, reason in zip(pairs, reasons, strict=True) if reason]
    rules = cleaning_rules(DataConfig(cleaning=(name,)), languages, pairs)
    block = clean_block(pairs, rules)
    if block.bands is not None:
        return [pairs[index] for index in np.flatnonzero(SeenBands().near_duplicates(block.bands))]
    dropped = [pair for pair, reason in zip(pairs, block.reasons, strict=True) if reason]
    return dropped or [pairs[index] for index in block.repairs]


def languages_of(path: Path) -> tuple[str, str]:
    """Return the languages that the name of a file ends with."""
    stem = path.name.removesuffix(".gz").removesuffix(".tsv")
    source, target = stem.rpartition(".")[2].replace("_", "-").split("-", 1)
    return source, target


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--examples", type=int, default=0, help="pairs of each check that are shown")
    arguments = parser.parse_args()
    seconds = dict.fromkeys(CHECKS, 0.0)
    total = 0
    print(f"| corpus | pairs | {' | '.join(CHECKS)} |\n|{' --- |' * (len(CHECKS) + 2)}")
    examples = []
    for path in arguments.corpora:
        languages = languages_of(path)
        read = islice(read_pairs([path]), MOST_PAIRS)
        pairs = [pair for pair in read if not pair.fault and pair.source and pair.target]
        counts = []
        for name in CHECKS:
            started = time.process_time()
            affected = found(name, pairs, languages)
            seconds[name] += time.process_time() - started
            counts.append(len(affected))
            examples += [f"{path.name}, line {pair.line}: {name}: {pair}" for pair in affected[: arguments.examples]]
        total += len(pairs)
        print(f"| {path.name} | {len(pairs):,} | {' | '.join(map(str, counts))} |")
    print(f"| µs per pair | {total:,} | {' | '.join(f'{1e6 * seconds[name] / total:.1f}' for name in CHECKS)} |")
    print("\n".join(examples))


if __name__ == "__main__":
    main()
