"""What a training option brings: `python benchmarks/levers.py DATA [ROW ...] --work DIR`.

Each row is a small model trained with one option and compared with the same model without it, after the same number of
steps, so that other work on the machine does not matter. Two rows are trained at a time, on one thread each. Finished
rows are kept in DIR: the same command continues where it was interrupted. The result is a dated Markdown file in --out.

DATA is a folder with `tatoeba/ko-en.tsv.gz` (Tatoeba's Korean-English pairs), `multi30k/NAME.{de,en,fr}.gz` (raw text)
and, for the rows with Bible text, `bible.de-en.tsv` (pairs of verses).
A row is added to ROWS; its `change` may alter the request in any way, for example with another corpus.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.data.corpora import corpus  # noqa: E402
from allyouneed.progress import print_line  # noqa: E402
from allyouneed.terminal import console  # noqa: E402
from allyouneed.training.request import Request  # noqa: E402
from allyouneed.training.train import train  # noqa: E402
from allyouneed.translation.evaluation.evaluator import evaluate  # noqa: E402
from allyouneed.translation.translator import Translator  # noqa: E402
from benchmarks.levers_corpora import (  # noqa: E402
    BASELINE,
    BIBLE,
    REVERSE,
    back_translated,
    few,
    with_bible,
    with_french,
    write_texts,
)
from benchmarks.measure.machine import machine  # noqa: E402

_TEST, _VALID = 400, 100  # pairs
_MULTI30K = 6000  # training pairs
_SETTINGS = [
    *("training.batch_tokens=2048", "training.warmup=100", "training.bleu_sentences=0", "training.average_every=20"),
    "model.dropout=0.2",
]


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        name: Identifies the row.
        corpus: "ko-en" or "de-en"; "en-ko" and "en-de" are the reversed directions.
        settings: Overrides `SECTION.NAME=VALUE`.
        against: Name of the row to compare with; None for a baseline.
        change: Alters the request; receives it and the folder of all work, in which `RUNS/NAME-SEED` are the runs.
        needs: Names of rows whose runs `change` uses.
    """

    name: str
    corpus: str
    settings: tuple[str, ...] = ()
    against: str | None = None
    change: Callable[[Request, Path], Request] = lambda request, work: request
    needs: tuple[str, ...] = ()


def _further(request: Request, work: Path) -> Request:
    """Train the run of the row "de-en" further, with the settings for fine-tuning."""
    [seed] = (setting.partition("=")[2] for setting in request.settings if setting.startswith("training.seed="))
    return replace(request, recipe=None, start_from=run_folder(work, "de-en", int(seed)))


ROWS = [
    Row("ko-en", "ko-en"),
    Row("ko-en, vocabulary 1,200", "ko-en", ("data.vocab_size=1200",), "ko-en"),
    Row("ko-en, coverage 0.98", "ko-en", ("data.character_coverage=0.98",), "ko-en"),
    Row("ko-en, BPE-dropout 0.1", "ko-en", ("data.subword_sampling=0.1",), "ko-en"),
    Row(
        "ko-en, BPE-dropout 0.1, source",
        "ko-en",
        ("data.subword_sampling=0.1", "data.sampled_side=source"),
        "ko-en",
    ),
    Row("ko-en, separate vocabularies", "ko-en", ("data.separate_vocabularies=true",), "ko-en"),
    Row("ko-en, unigram", "ko-en", ("data.subwords=unigram",), "ko-en"),
    Row(
        "ko-en, unigram sampling 0.2", "ko-en", ("data.subwords=unigram", "data.subword_sampling=0.2"), "ko-en, unigram"
    ),
    Row("de-en", "de-en"),
    Row("de-en, BPE-dropout 0.1", "de-en", ("data.subword_sampling=0.1",), "de-en"),
    Row("de-en, separate vocabularies", "de-en", ("data.separate_vocabularies=true",), "de-en"),
    Row("de-en, further", "de-en", (), "de-en", _further, ("de-en",)),
    Row(
        "de-en, further, frozen embeddings and encoder",
        "de-en",
        ("training.freeze=embeddings,encoder",),
        "de-en, further",
        _further,
        ("de-en",),
    ),
    Row(BASELINE, "de-en", change=few),
    Row(f"{BASELINE}, with the Bible", "de-en", (), BASELINE, with_bible((1, 1))),
    Row(f"{BASELINE}, with the Bible, weights 6,1", "de-en", (), BASELINE, with_bible((6, 1))),
    Row(f"{BASELINE}, with fr-en", "de-en", (), BASELINE, with_french),
    Row(REVERSE, "en-de", change=few),
    Row(f"{BASELINE}, back-translation", "de-en", (), BASELINE, back_translated("<bt>", (2, 1)), (REVERSE,)),
    Row(f"{BASELINE}, back-translation, no tag", "de-en", (), BASELINE, back_translated("", (2, 1)), (REVERSE,)),
]


def main() -> None:
    args = _arguments()
    if args.one:
        return _train_and_score(_named(args.rows[0]), args)
    chosen = _with_baselines([_named(name) for name in args.rows] or ROWS)
    for name in dict.fromkeys(row.corpus for row in chosen):
        _write_corpus(args.data, args.work, name)
    write_texts(args.data, args.work, _lines)
    if not (args.work / BIBLE).exists():
        print_line(console(), f"rows with Bible text are left out: there is no {args.data / BIBLE}")
        chosen = [row for row in chosen if "Bible" not in row.name]
    waves = [[row for row in chosen if not row.needs], [row for row in chosen if row.needs]]
    with ThreadPoolExecutor(args.at_a_time) as pool:
        for wave in waves:
            list(pool.map(lambda job: _run_in_process(*job, args), [(row, s) for s in args.seeds for row in wave]))
    body = table(chosen, _results(chosen, args))
    args.out.mkdir(parents=True, exist_ok=True)
    page = args.out / f"{time.strftime('%Y-%m-%d')}-levers.md"
    seeds = ",".join(map(str, args.seeds))
    command = shlex.join(
        ["python", "benchmarks/levers.py", "DATA", *args.rows, "--steps", str(args.steps), "--seeds", seeds]
    )
    with page.open("a", encoding="utf-8") as file:
        file.write(f"# Training options, {time.strftime('%Y-%m-%d %H:%M')}\n{machine()}\n\n`{command}`\n\n{body}\n\n")
    print(f"\n{body}\n\n{page}")
    return None


def table(rows: Sequence[Row], results: dict[str, list[dict[str, float]]]) -> str:
    """Format medians over the seeds as Markdown, with differences from the compared row."""
    lines = [
        "| row | BLEU | chrF2 | against | BLEU | chrF2 | making batches, share of a step | CPU seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        own = _medians(results[row.name])
        cells = [f"{own['bleu']:.1f}", f"{own['chrf']:.1f}"]
        if row.against is None:
            cells += ["", "", ""]
        else:
            other = _medians(results[row.against])
            cells += [row.against, *(f"{own[key] - other[key]:+.1f}" for key in ("bleu", "chrf"))]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {own['loading']:.1%} | {own['seconds']:.0f} |")
    return "\n".join(lines)


def _medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


def _with_baselines(rows: Sequence[Row]) -> list[Row]:
    """Add the rows that others are compared with or need, before them."""
    found: dict[str, Row] = {}
    for row in rows:
        for name in (row.against, *row.needs):
            if name is not None:
                found |= {each.name: each for each in _with_baselines([_named(name)])}
        found[row.name] = row
    return list(found.values())


def _named(name: str) -> Row:
    for row in ROWS:
        if row.name == name:
            return row
    raise SystemExit(f"there is no row {name!r}. Rows: {'; '.join(row.name for row in ROWS)}.")


def run_folder(work: Path, name: str, seed: int) -> Path:
    """Return the folder of the run of a row."""
    return work / "runs" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def _result_file(work: Path, name: str, seed: int) -> Path:
    folder = run_folder(work, name, seed)
    return folder.with_name(f"{folder.name}.json")  # with_suffix would cut the name at the point of a number


def _results(rows: Sequence[Row], args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    files = {row.name: [_result_file(args.work, row.name, seed) for seed in args.seeds] for row in rows}
    return {name: [json.loads(file.read_text("utf-8")) for file in each] for name, each in files.items()}


def _run_in_process(row: Row, seed: int, args: argparse.Namespace) -> None:
    result = _result_file(args.work, row.name, seed)
    if not result.exists():
        command = [sys.executable, __file__, args.data, row.name, "--work", args.work, "--steps", str(args.steps)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--seeds", str(seed), "--one"], env=environment, check=True)
    print_line(console(), f"{row.name}, seed {seed}: {result.read_text('utf-8').strip()}")


def _train_and_score(row: Row, args: argparse.Namespace) -> None:
    [seed] = args.seeds
    folder, out = args.work / row.corpus, run_folder(args.work, row.name, seed)
    request = Request(
        train=[corpus(folder / "train.tsv")],
        valid=[corpus(folder / "valid.tsv")],
        out=out,
        languages=tuple(row.corpus.split("-")),
        recipe="tiny",
        settings=[
            *_SETTINGS,
            *(f"training.{name}={value}" for name, value in (("steps", args.steps), ("seed", seed))),
            f"training.validate_every={args.steps}",
            *([] if any("vocab_size" in setting for setting in row.settings) else ["data.vocab_size=2400"]),
            *row.settings,
        ],
    )
    request = row.change(request, args.work)
    started = time.process_time()  # of all threads; other work on the machine does not count
    train(request, console())
    seconds = time.process_time() - started
    scores = evaluate(Translator.load(out), [folder / "test.tsv"])
    log = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    steps = [record for record in log if record["event"] == "train"]
    loading = sum(each["loading_seconds"] for each in steps) / steps[-1]["seconds"]
    result = {"bleu": scores.bleu, "chrf": scores.chrf, "loading": loading, "seconds": seconds}
    _result_file(args.work, row.name, seed).write_text(json.dumps(result), encoding="utf-8")


def _write_corpus(data: Path, work: Path, name: str) -> None:
    """Write train.tsv, valid.tsv and test.tsv of a corpus, in its direction."""
    folder = work / name
    if (folder / "train.tsv").exists():
        return
    read = _tatoeba(data) if "ko" in name else _multi30k(data)
    pairs = [pair[::-1] for pair in read] if name.startswith("en-") else list(read)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"test": pairs[:_TEST], "valid": pairs[_TEST : _TEST + _VALID], "train": pairs[_TEST + _VALID :]}
    for part, lines in parts.items():
        text = "".join(f"{source}\t{target}\n" for source, target in lines)
        (folder / f"{part}.tsv").write_text(text, encoding="utf-8")


def _tatoeba(data: Path) -> list[tuple[str, str]]:
    """Return the pairs in a fixed random order, one of each source, so that test text is new."""
    pairs = dict(line.split("\t")[:2] for line in _lines(data / "tatoeba" / "ko-en.tsv.gz"))
    return random.Random(1).sample(list(pairs.items()), len(pairs))


def _multi30k(data: Path) -> list[tuple[str, str]]:
    """Return pairs of the test text, then of the validation and the training text."""
    parts = (("test_2016_flickr", _TEST), ("val", _VALID), ("train", _MULTI30K))
    sides = (
        [line for name, count in parts for line in _lines(data / "multi30k" / f"{name}.{side}.gz")[:count]]
        for side in ("de", "en")
    )
    return list(zip(*sides, strict=True))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in gzip.decompress(path.read_bytes()).decode("utf-8").strip().split("\n")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="default: all")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of texts, runs and results")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1])
    parser.add_argument("--at-a-time", type=int, default=2, help="trainings at a time, on one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
