"""Measure glossaries: `python benchmarks/glossary.py RUN --source FILE --reference FILE [--corpus SOURCE TARGET]`.

Measures the share of terms in the translations, speed and BLEU, without and with a glossary. The glossary has
words that occur together in the lines of the corpus (by default the test set itself) more often than with any other
word. It is used as it is, and with invented translations, which the model would never choose; BLEU is then against
references in which the words are replaced by the invented ones. "Constrained search" forces the same words with
`force_words` instead. The rounds alternate, and the speed is their median.
The result is a dated Markdown page in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

from allyouneed import SearchOptions, Translator  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from allyouneed.translation.requirements import Requirements  # noqa: E402
from allyouneed.translation.terminology.glossary import Entry, Glossary  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

_WORD = re.compile(r"[^\W\d_]{4,}")
_MIN_COUNT = 3  # lines that have both words
_MIN_DICE = 0.5


class Row(NamedTuple):
    """A measured translation of the test set."""

    name: str
    seconds: float
    terms: int
    present: int
    bleu: float


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    lines, references = list(read_text(args.source)), list(read_text(args.reference))
    corpus = [list(read_text(path)) for path in args.corpus] if args.corpus else [lines, references]
    translator = Translator.load(args.run, inter_threads=args.threads)
    source, target = translator.bundle.languages
    known = frequent_pairs(*corpus)[: args.terms]
    invented = [Entry(entry.source, entry.target[::-1].capitalize()) for entry in known]
    replaced = [_replaced(line, dict(zip((e.target for e in known), (e.target for e in invented), strict=True)))
                for line in references]  # fmt: skip
    cases = {
        "no glossary": (None, known, references),
        "a glossary": (known, known, references),
        "a glossary, constrained search": (known, known, references),
        "invented translations": (invented, invented, replaced),
        "invented translations, constrained search": (invented, invented, replaced),
    }
    seconds: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    for beam in args.beams:
        options = SearchOptions(beam_size=beam)
        for _ in range(args.repeats):
            for name, (entries, _, _) in cases.items():
                glossary = Glossary(tuple(entries), source, target) if entries else None
                started = time.perf_counter()
                if name.endswith("search") and glossary:
                    words = [[term.target for term in glossary.find(line)] for line in lines]
                    texts[f"{name}, beam {beam}"] = [
                        each.text for each in translator.translate(lines, options, force_words=words)
                    ]
                else:
                    required = Requirements(None, glossary)
                    texts[f"{name}, beam {beam}"] = [e.text for e in required.translate(translator, lines, options)]
                seconds.setdefault(f"{name}, beam {beam}", []).append(time.perf_counter() - started)
    rows = []
    for beam in args.beams:
        for name, (_, counted, reference) in cases.items():
            key = f"{name}, beam {beam}"
            count, present = presence(Glossary(tuple(counted), source, target), lines, texts[key])
            bleu = corpus_scores(texts[key], reference).bleu
            rows.append(Row(key, statistics.median(seconds[key]), count, present, bleu))
    page = args.out / f"{time.strftime('%Y-%m-%d')}-glossary.md"
    args.out.mkdir(parents=True, exist_ok=True)
    head = f"# Glossaries, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{len(lines):,} sentences, {len(known):,} terms, "
    head += f"{args.threads} threads, {args.repeats} alternating rounds, medians.\n"
    page.write_text("\n".join([head, *table(rows, len(lines))]) + "\n", "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def frequent_pairs(sources: Sequence[str], targets: Sequence[str]) -> list[Entry]:
    """Return words and their translations by Dice's coefficient, the most frequent first."""
    ones, others, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for source, target in zip(sources, targets, strict=True):
        words, translations = set(_WORD.findall(source)), set(_WORD.findall(target))
        ones.update(words)
        others.update(translations)
        both.update((one, other) for one in words for other in translations)
    dice = {pair: 2 * count / (ones[pair[0]] + others[pair[1]]) for pair, count in both.items() if count >= _MIN_COUNT}
    best: dict[str, str] = {}
    taken: set[str] = set()
    for (one, other), value in sorted(dice.items(), key=lambda item: -item[1]):
        if value >= _MIN_DICE and one not in best and other not in taken:
            best[one] = other
            taken.add(other)
    return [Entry(one, best[one]) for one, _ in ones.most_common() if one in best]


def presence(glossary: Glossary, lines: Sequence[str], translations: Sequence[str]) -> tuple[int, int]:
    """Return the number of terms in the lines, and how many of them have their translation, as whole words."""
    count = present = 0
    for line, translation in zip(lines, translations, strict=True):
        wanted = Counter(term.target for term in glossary.find(line))
        for target, number in wanted.items():
            found = re.findall(rf"(?<!\w){re.escape(target)}(?!\w)", translation, re.IGNORECASE)
            count += number
            present += min(number, len(found))
    return count, present


def table(rows: Sequence[Row], sentences: int) -> list[str]:
    """Return a Markdown table."""
    lines = ["| | sentences/s | terms with their translation | BLEU |", "| --- | --- | --- | --- |"]
    for row in rows:
        share = 100 * row.present / max(1, row.terms)
        cells = f"{sentences / row.seconds:,.0f} | {row.present:,} of {row.terms:,} ({share:.1f} %) | {row.bleu:.2f}"
        lines.append(f"| {row.name} | {cells} |")
    return lines


def _replaced(line: str, words: dict[str, str]) -> str:
    return _WORD.sub(lambda match: words.get(match[0], match[0]), line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, nargs=2, help="text from which the terms are taken")
    parser.add_argument("--terms", type=int, default=300, help="the most frequent ones")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
