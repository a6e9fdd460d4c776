"""Compare this checkout with an earlier revision: `python benchmarks/refactoring.py REVISION DATA`.

A refactoring must leave losses, translations and speed as they are. The revision is checked out into a temporary
folder, and both are run through the command line, in turn:

- the losses of the first 50 steps, of recipe `tiny` and of `base` at a reduced size, must be equal to the last bit;
- the translations of 1,000 sentences and their scores, greedy, with a beam of 4, and in 8 bits, must be equal;
- training and translating throughput, import time and `--help`: the median ratio of alternating rounds;
- the size of the source: lines, long functions, imports inside functions, long parameter lists.

The result is a dated Markdown page in benchmarks/results. Exit code 1 if a loss or a translation differs.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found from any working folder

from benchmarks.measure.machine import machine  # noqa: E402

SETTINGS = {
    "tiny": [],
    "base, d_model 256, 2 + 2 layers": [
        "model.d_model=256",
        "model.d_ff=512",
        "model.num_heads=4",
        "model.encoder_layers=2",
        "model.decoder_layers=2",
        "data.vocab_size=8000",
        "training.batch_tokens=1024",
    ],
}
SEARCHES = {
    "greedy": ["--beam-size", "1"],
    "beam 4": ["--beam-size", "4"],
    "int8, greedy": ["--beam-size", "1", "--compute-type", "int8"],
    "int8, beam 4": ["--beam-size", "4", "--compute-type", "int8"],
}
WARM_STEPS = 10  # of each training, not counted in its throughput


class Checkout(NamedTuple):
    """A source tree and a folder for what it writes."""

    name: str
    root: Path
    out: Path

    def run(self, *arguments: object) -> float:
        """Run Python on this source tree.

        Returns:
            The elapsed seconds.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src")}
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(map(str, arguments))}\n{done.stderr}")
        return time.perf_counter() - begun

    def processor_seconds(self, *arguments: str) -> float:
        """Run Python on this source tree and return the processor time of that process, in seconds."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


class Trained(NamedTuple):
    losses: list[float]
    tokens_per_second: float


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, _worktree(arguments.revision, Path(name) / "before") as earlier:
        checkouts = [
            Checkout(each, root, Path(name) / f"{each}-out") for each, root in (("before", earlier), ("after", ROOT))
        ]
        for each in checkouts:
            each.out.mkdir()
        rows, equal = compare(checkouts, arguments, Path(name))
    page = arguments.out / f"{time.strftime('%Y-%m-%d')}-refactoring.md"
    arguments.out.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(arguments.revision, rows), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")
    sys.exit(not equal)


def compare(checkouts: Sequence[Checkout], arguments: argparse.Namespace, folder: Path) -> tuple[list[str], bool]:
    """Run every comparison.

    Returns:
        The rows of the result's table, and whether all losses and translations are equal.
    """
    texts = {name: _text(arguments.data, name, folder) for name in ("train", "val", "test_2016_flickr")}
    rows, equal = [], True
    for name, settings in SETTINGS.items():
        losses = [_train(each, name, settings, texts, arguments.steps).losses for each in checkouts]
        equal &= losses[0] == losses[1]
        shared = sum(a == b for a, b in zip(*losses, strict=True))
        rows.append(_row(f"losses of {name}", f"{shared} of {len(losses[0])} equal to the last bit"))
    run = arguments.run or _bundle(checkouts[0], texts, arguments.minutes)
    sentences = texts["test_2016_flickr"][0]
    for name, options in SEARCHES.items():
        found = [_translate(each, run, sentences, options)[0] for each in checkouts]
        equal &= found[0] == found[1]
        rows.append(_row(f"translations, {name}", f"{sum(map(str.__eq__, *found)):,} of {len(found[0]):,} equal"))
    rows += _speeds(checkouts, arguments.rounds, run, texts)
    sizes = [_source(each) for each in checkouts]
    rows += [_row(f"source: {name}", f"{sizes[0][name]:,} before, {sizes[1][name]:,} after") for name in sizes[0]]
    return rows, equal


def _speeds(checkouts: Sequence[Checkout], rounds: int, run: Path, texts: dict[str, list[Path]]) -> list[str]:
    """Measure both checkouts in turn, `rounds` times."""
    sentences = texts["test_2016_flickr"][0]

    def training(each: Checkout) -> float:
        return 1 / _train(each, "tiny", [], texts, 60).tokens_per_second

    measures: dict[str, Callable[[Checkout], float]] = {
        "time of a target token in training, tiny": training,
        **{
            f"time to translate, {name}": lambda each, options=options: _translate(each, run, sentences, options)[1]
            for name, options in SEARCHES.items()
        },
        "processor time of `import allyouneed`": lambda each: each.processor_seconds("-c", "import allyouneed"),
        "processor time of `allyouneed --help`": lambda each: each.processor_seconds("-m", "allyouneed", "--help"),
    }
    rows = []
    for name, measure in measures.items():
        pairs = [[measure(each) for each in checkouts] for _ in range(rounds)]
        first, second = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratios = [after / before for before, after in pairs]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        rows.append(_row(name, f"{second / first:.3f} of before ({spread} by round; before {_seconds(first)})"))
        print(rows[-1], flush=True)
    return rows


def _train(each: Checkout, name: str, settings: Sequence[str], texts: dict[str, list[Path]], steps: int) -> Trained:
    run = each.out / f"train-{time.monotonic_ns()}"
    short = [f"training.steps={steps}", "training.log_every=1", f"training.validate_every={steps}"]
    short += ["training.bleu_sentences=0", "training.average=1", "training.average_every=1000000"]
    options = [option for setting in (*short, *settings) for option in ("--set", setting)]
    recipe = name.split(",")[0]
    each.run("-m", "allyouneed", *_train_arguments(texts), "--recipe", recipe, "--out", run, *options)
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    logged = [record for record in records if record["event"] == "train"]
    speeds = [record["tokens_per_second"] for record in logged[WARM_STEPS:]]
    return Trained([record["loss"] for record in logged], statistics.median(speeds))


def _bundle(each: Checkout, texts: dict[str, list[Path]], minutes: float) -> Path:
    run = each.out / "run"
    each.run("-m", "allyouneed", *_train_arguments(texts), "--recipe", "tiny", "--minutes", minutes, "--out", run)
    return run


def _train_arguments(texts: dict[str, list[Path]]) -> list[object]:
    return ["train", "--from", "en", "--to", "de", "--train", *texts["train"], "--valid", *texts["val"]]


def _translate(each: Checkout, run: Path, sentences: Path, options: Sequence[str]) -> tuple[list[str], float]:
    """Translate a file; returns its lines with scores, and the elapsed seconds of the process."""
    output = each.out / "translated"
    seconds = each.run("-m", "allyouneed", "translate", run, sentences, "-o", output, "--scores", *options)
    return output.read_text("utf-8").splitlines(), seconds


def _source(each: Checkout) -> dict[str, int]:
    """Count lines, long functions, imports inside functions, and long parameter lists of a source tree."""
    counts = dict.fromkeys(
        ("lines", "functions over 50 lines", "imports inside functions", "functions with over 10 parameters"), 0
    )
    for path in (each.root / "src").rglob("*.py"):
        text = path.read_text("utf-8")
        counts["lines"] += text.count("\n")
        imports = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [one.arg for one in parameters if one.arg not in ("self", "cls")]
                counts["functions over 50 lines"] += node.end_lineno - node.lineno >= 50
                counts["functions with over 10 parameters"] += len(names) > 10
                imports |= {one.lineno for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)}
        counts["imports inside functions"] += len(imports)
    return counts


@contextmanager
def _worktree(revision: str, folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", folder, revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


def _text(data: Path, name: str, folder: Path) -> list[Path]:
    """The English and German file of a part of Multi30k."""
    paths = [data / f"{name}.lc.norm.tok.{language}.gz" for language in ("en", "de")]
    if name != "test_2016_flickr":
        return paths
    plain = folder / "test.en"
    plain.write_bytes(subprocess.run(["gzip", "-dc", paths[0]], check=True, capture_output=True).stdout)
    return [plain, paths[1]]


def _row(name: str, value: str) -> str:
    return f"| {name} | {value} |"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value > 0.01 else f"{value * 1e6:.0f} µs"


def _page(revision: str, rows: Sequence[str]) -> str:
    named = subprocess.run(["git", "-C", ROOT, "describe", "--always", revision], capture_output=True, text=True)
    return (
        f"# This checkout beside {named.stdout.strip()}\n\n"
        f"`python benchmarks/refactoring.py {revision} DATA` on {machine()}\n\n"
        f"| what | result |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the revision to compare with, for example HEAD~20")
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder with Multi30k, see benchmarks/README.md")
    parser.add_argument("--run", type=Path, help="a run or bundle from English; without it one is trained")
    parser.add_argument("--minutes", type=float, default=5, help="training time of that bundle (default: 5)")
    parser.add_argument("--steps", type=int, default=50, help="steps whose losses are compared (default: 50)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each speed (default: 5)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
