"""The guard against endless repetition: `python benchmarks/repetition.py RUN --source FILE [--reference FILE]`.

FILE's sentences are translated with and without the guard: how many translations differ, the CPU time of both, and that
of the check alone. Then the same for texts that no model was trained on (digits, repeated words, other scripts, random
letters): how many translations repeat themselves with and without it.
"""

from __future__ import annotations

import argparse
import gzip
import random
import string
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed import Translation, Translator  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from allyouneed.translation.repetition import repeats_itself  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


def main() -> None:
    args = _arguments()
    translator = Translator.load(args.run, inter_threads=1, compute_type=args.compute_type)
    sources = _lines(args.source)
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n")
    for beam_size in (1, 4):
        translator.translate(sources[:50], beam_size=beam_size)  # compiles kernels
        bare, without = _timed(translator, sources, beam_size, False)
        guarded, with_guard = _timed(translator, sources, beam_size, True)
        ids = [
            (translator.tokenizer.encode(each.source), translator.tokenizer.target.encode(each.text)) for each in bare
        ]
        started = time.process_time()
        for source, target in ids:
            repeats_itself(target, source)
        check = time.process_time() - started
        different = sum(one.text != other.text for one, other in zip(bare, guarded, strict=True))
        print(f"beam size {beam_size}: {different} of {len(sources):,} translations differ")
        print(f"  CPU time {without:.2f} s without, {with_guard:.2f} s with the guard; the check takes {check:.4f} s")
        if args.reference:
            references = [_lines(args.reference)]
            scores = [corpus_scores([each.text for each in found], references[0]) for found in (bare, guarded)]
            print("  BLEU " + " without, ".join(f"{each.metrics['bleu'].score:.2f}" for each in scores) + " with")
        for name, texts in _hostile(sources).items():
            counts = [
                sum(_is_stuck(translator, each) for each in _timed(translator, texts, beam_size, guard)[0])
                for guard in (False, True)
            ]
            print(f"  {name}: of {len(texts)} translations, {counts[0]} repeat themselves without, {counts[1]} with it")


def _timed(
    translator: Translator, sources: Sequence[str], beam_size: int, guard: bool
) -> tuple[list[Translation], float]:
    started = time.process_time()
    found = translator.translate(sources, beam_size=beam_size, repetition_guard=guard)
    return found, time.process_time() - started


def _is_stuck(translator: Translator, found: Translation) -> bool:
    return repeats_itself(translator.tokenizer.target.encode(found.text), translator.tokenizer.encode(found.source))


def _hostile(sources: Sequence[str]) -> dict[str, list[str]]:
    """Return texts unlike those of training, by kind."""
    chooser = random.Random(1)
    words = [word for source in sources for word in source.split()]

    def letters(count: int, alphabet: str) -> str:
        return "".join(chooser.choices(alphabet, k=count))

    return {
        "digits": [" ".join(letters(chooser.randint(1, 6), string.digits) for _ in range(12)) + "." for _ in range(50)],
        "a repeated word": [" ".join([chooser.choice(words)] * chooser.randint(2, 20)) for _ in range(50)],
        "random letters": [letters(40, string.ascii_letters + " ") for _ in range(50)],
        "other scripts": [letters(30, "가나다라마바사아자차카타파하 あいうえお 中文字 абвгд ") for _ in range(50)],
        "random words": [" ".join(chooser.choices(words, k=25)) for _ in range(50)],
        "upper case": [source.upper() for source in sources[:50]],
    }


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--compute-type", default="float32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
