"""Measure the cost of decoding features: `python benchmarks/decoding.py RUN --source FILE --reference FILE`.

Translates the same text with each feature in alternating rounds and reports medians. The forced word is the longest of
each reference, the suppressed word the most frequent one. The result is a dated Markdown page in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

from allyouneed import Translator  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


def features(references: list[str]) -> dict[str, dict]:
    """Return search options by name: first with beam 4, then with greedy search."""
    longest = [[max(line.split(), key=len)] for line in references]
    [(most_frequent, _)] = Counter(word for line in references for word in line.split()).most_common(1)
    return {
        "beam 4": {"beam_size": 4},
        "the 4 best": {"beam_size": 4, "num_hypotheses": 4},
        "2 groups": {"beam_size": 4, "num_beam_groups": 2},
        "4 groups, the 4 best": {"beam_size": 4, "num_beam_groups": 4, "num_hypotheses": 4},
        "a forced word": {"beam_size": 4, "force_words": longest},
        "a forced word, beam 10": {"beam_size": 10, "force_words": longest},
        "coverage penalty 0.2": {"beam_size": 4, "coverage_penalty": 0.2},
        "no repeated trigrams": {"beam_size": 4, "no_repeat_ngram_size": 3},
        "a suppressed word": {"beam_size": 4, "suppress_sequences": [most_frequent]},
        "at least 5 tokens": {"beam_size": 4, "min_decoding_length": 5},
        "greedy": {"beam_size": 1},
        "greedy, no scores": {"beam_size": 1, "return_scores": False},
        "sampling, temperature 1": {"beam_size": 1, "sampling_topk": 0},
        "sampling, top 10": {"beam_size": 1, "sampling_topk": 10},
    }


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    lines, references = list(read_text(args.source)), list(read_text(args.reference))
    translator = Translator.load(args.run, inter_threads=args.threads)
    translator.translate(lines[:200])  # warm up
    options, seconds, translations = features(references), {}, {}
    for number in range(args.repeats):
        for name, overrides in options.items():
            start = time.perf_counter()
            translations[name] = [each.text for each in translator.translate(lines, **overrides)]
            seconds.setdefault(name, []).append(time.perf_counter() - start)
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items()),
            flush=True,
        )
    rows = []
    for name, times in seconds.items():
        base = "beam 4" if options[name]["beam_size"] > 1 else "greedy"
        ratio = statistics.median(times) / statistics.median(seconds[base])
        bleu = corpus_scores(translations[name], references, tokenized=True).bleu
        rows.append(f"| {name} | {len(lines) / statistics.median(times):,.0f} | {ratio:.2f} × {base} | {bleu:.2f} |")
    forced = sum(words[0] in text for words, text in zip(
        options["a forced word"]["force_words"], translations["a forced word"], strict=True
    ))  # fmt: skip
    page = args.out / f"{time.strftime('%Y-%m-%d')}-decoding.md"
    args.out.mkdir(parents=True, exist_ok=True)
    head = f"# Cost of decoding features, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{len(lines):,} sentences, "
    head += f"{args.threads} threads, {args.repeats} alternating rounds, medians. The forced word is in "
    head += f"{forced:,} of {len(lines):,} translations; BLEU on tokenised text.\n"
    table = ["| | sentences/s | time | BLEU |", "| --- | --- | --- | --- |", *rows]
    page.write_text("\n".join([head, *table, ""]), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="tokenised like the source")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
