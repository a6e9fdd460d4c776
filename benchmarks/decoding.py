"""What decoding features cost: `python benchmarks/decoding.py RUN --source FILE --reference FILE`.

The same text with each of them in turn, round after round; medians. Forced is the longest word of each reference, and
suppressed the commonest word of all. The result is a dated Markdown page in benchmarks/results.
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
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

import torch  # noqa: E402

from allyouneed import Translator  # noqa: E402
from allyouneed.data.formats import read_text  # noqa: E402
from allyouneed.translation.metrics import corpus_scores  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


def features(references: list[str]) -> dict[str, dict]:
    """Options of `translate` by name. Those of a beam of 4, then those of greedy search."""
    longest = [[max(line.split(), key=len)] for line in references]
    [(commonest, _)] = Counter(word for line in references for word in line.split()).most_common(1)
    return {
        "beam 4": {"beam_size": 4},
        "the 4 best": {"beam_size": 4, "num_hypotheses": 4},
        "2 groups": {"beam_size": 4, "num_beam_groups": 2},
        "4 groups, the 4 best": {"beam_size": 4, "num_beam_groups": 4, "num_hypotheses": 4},
        "a forced word": {"beam_size": 4, "force_words": longest},
        "a forced word, beam 10": {"beam_size": 10, "force_words": longest},
        "coverage penalty 0.2": {"beam_size": 4, "coverage_penalty": 0.2},
        "no 3 subwords twice": {"beam_size": 4, "no_repeat_ngram_size": 3},
        "a suppressed word": {"beam_size": 4, "suppress_sequences": [commonest]},
        "at least 5 subwords": {"beam_size": 4, "min_decoding_length": 5},
        "greedy": {"beam_size": 1},
        "greedy, no scores": {"beam_size": 1, "return_scores": False},
        "drawn, temperature 1": {"beam_size": 1, "sampling_topk": 0},
        "drawn from the 10 likeliest": {"beam_size": 1, "sampling_topk": 10},
    }


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    lines, references = list(read_text(asked.source)), list(read_text(asked.reference))
    translator = Translator.load(asked.run, inter_threads=asked.threads)
    translator.translate(lines[:200])  # whatever is made ready at the first use
    options, seconds, found = features(references), {}, {}
    for number in range(asked.repeats):
        for name, given in options.items():
            begun = time.perf_counter()
            found[name] = [one.text for one in translator.translate(lines, **given)]
            seconds.setdefault(name, []).append(time.perf_counter() - begun)
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {ran[-1]:.2f} s" for name, ran in seconds.items()), flush=True
        )
    rows = []
    for name, ran in seconds.items():
        base = "beam 4" if options[name]["beam_size"] > 1 else "greedy"
        times = statistics.median(ran) / statistics.median(seconds[base])
        bleu = corpus_scores(found[name], references, tokenized=True).bleu
        rows.append(f"| {name} | {len(lines) / statistics.median(ran):,.0f} | {times:.2f} × {base} | {bleu:.2f} |")
    forced = sum(words[0] in text for words, text in zip(
        options["a forced word"]["force_words"], found["a forced word"], strict=True
    ))  # fmt: skip
    page = asked.out / f"{time.strftime('%Y-%m-%d')}-decoding.md"
    asked.out.mkdir(parents=True, exist_ok=True)
    head = f"# What decoding features cost, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{len(lines):,} sentences, "
    head += f"{asked.threads} threads, {asked.repeats} rounds in turn, medians. The forced word is in {forced:,} of "
    head += f"{len(lines):,} translations; BLEU on tokenised text.\n"
    table = ["| | sentences/s | time | BLEU |", "| --- | --- | --- | --- |", *rows]
    page.write_text("\n".join([head, *table, ""]), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="tokenised, as the source")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
