"""How many pairs of corpora each cleaning check drops, and how long it takes.

    python benchmarks/cleaning.py bible.de-en.tsv django.en-ko.tsv ...

On clean text, a dropped pair is a false positive, or a fault of the text that was not known before: `--examples`
shows the pairs. File names end with the languages, `NAME.SOURCE-TARGET.tsv` (possibly `.gz`).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.cleaning.block import clean_block, cleaning_rules
from allyouneed.data.cleaning.registry import CHECKS, check_of
from allyouneed.data.duplicates import SeenBands, SeenPairs, pair_keys
from allyouneed.data.files.formats import RawPair, read_pairs

MOST_PAIRS, MOST_PLANTED = 8000, 400


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


def planted(pairs: list[RawPair]) -> dict[str, list[RawPair]]:
    """Return pairs with faults, made of good ones, by what was done."""
    long = pairs[len(pairs) // 2 :]
    made = {
        "target is the source": [pair._replace(target=pair.source) for pair in pairs],
        "source is the target": [pair._replace(source=pair.target) for pair in pairs],
        "sides exchanged": [pair._replace(source=pair.target, target=pair.source) for pair in pairs],
        "source in UTF-8 read as Latin-1": [
            pair._replace(source=pair.source.encode().decode("latin-1")) for pair in pairs if not pair.source.isascii()
        ],
        "two thirds of the target cut off": [
            pair._replace(target=pair.target[: len(pair.target) // 3]) for pair in pairs
        ],
        "other numbers appended": [
            pair._replace(
                source=f"{pair.source} ({1984 + index}, {317 + index})", target=f"{pair.target} (5, {66623 + index})"
            )
            for index, pair in enumerate(pairs)
        ],
        "target of another line": [
            pair._replace(target=other.target) for pair, other in zip(pairs, long, strict=False)
        ],
    }
    return {name: faulty[:MOST_PLANTED] for name, faulty in made.items()}


def show_planted(pairs: list[RawPair], languages: tuple[str, str]) -> None:
    """Print which share of planted faults all checks find, and which checks."""
    rules = cleaning_rules(DataConfig(cleaning=("web", "-near_duplicates")), languages, pairs)
    for name, faulty in planted(pairs).items():
        block = clean_block(faulty, rules)
        checks = Counter(check_of(reason) for reason in block.reasons if reason)
        checks += Counter(repair.checks[0] for index, repair in block.repairs.items() if not block.reasons[index])
        print(f"| {name} | {100 * checks.total() / len(faulty):.0f} % | {', '.join(checks)} |")


def languages_of(path: Path) -> tuple[str, str]:
    """Return the languages that the name of a file ends with."""
    stem = path.name.removesuffix(".gz").removesuffix(".tsv")
    source, target = stem.rpartition(".")[2].replace("_", "-").split("-", 1)
    return source, target


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--planted", action="store_true", help="also plant faults in the first corpus")
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
    if arguments.planted:
        path = arguments.corpora[0]
        show_planted([pair for pair in islice(read_pairs([path]), MOST_PAIRS) if not pair.fault], languages_of(path))


if __name__ == "__main__":
    main()
