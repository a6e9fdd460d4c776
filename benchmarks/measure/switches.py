"""Effect of torch.compile, bf16 and threads on training recipe `tiny` on this processor, including start-up time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from allyouneed.config import load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.data.prepare import prepare
from allyouneed.data.store import write_store
from allyouneed.data.tokens.token_ids import TokenIds, token_ids
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.paper.results_folder import as_table
from benchmarks.measure.workers import WorkerFailed, run_worker

Sections = Mapping[str, Mapping[str, Any]]
DEFAULT = "default"
_OURS, _PYTORCH, _COMPILED = "ours", "pytorch", "compiled"  # see `switches_worker.py`
_COMPILING = 3  # a step this many times longer than the median includes compilation
_TIMEOUT = 1800  # seconds per visit, including compilation
_PAIRS = 20_000  # synthetic sentence pairs
_EMPTY = "–"


@dataclass(frozen=True)
class Variant:
    """A training configuration.

    Attributes:
        name: Name in the table.
        settings: Changed settings by section, for `Config.replace`.
        path: Implementation of the model, see `switches_worker.py`.
        threads: Number of threads; None for PyTorch's default.
    """

    name: str
    settings: Sections = field(default_factory=dict)
    path: str = _OURS
    threads: int | None = None


@dataclass(frozen=True)
class Visit:
    """Measurement of one process.

    Attributes:
        rate: Target tokens per second after the warm-up.
        first: Seconds until the first step is finished.
        compiling: Seconds of compilation in all steps.
    """

    rate: float
    first: float
    compiling: float


@dataclass(frozen=True)
class SwitchRow:
    """Visits of a variant, the first with empty compiler caches. error: Why it could not be measured."""

    variant: str
    visits: tuple[Visit, ...] = ()
    error: str = ""

    @property
    def rate(self) -> float:
        """Median of the visits in target tokens per second."""
        return median(visit.rate for visit in self.visits)


def all_variants(threads: int) -> list[Variant]:
    """List the variants. threads: PyTorch's default number of threads."""
    bf16 = {"training": {"precision": "bf16"}}
    fewer = [2**i for i in range(threads.bit_length()) if 2**i < threads]
    return [
        Variant(DEFAULT),
        *(Variant(f"{count} thread{'s' if count > 1 else ''}", threads=count) for count in fewer),
        Variant("training.plain=true", {"training": {"plain": True}}),
        Variant("PyTorch's dropout and attention", path=_PYTORCH),
        Variant("the same, torch.compile", path=_COMPILED),
        Variant("bf16", bf16),
        Variant("bf16, PyTorch's, torch.compile", bf16, _COMPILED),
    ]


def measure_switches(
    data: Path | None = None,
    rounds: int = 3,
    steps: int = 40,
    warm_up: int = 8,
    settings: Sections | None = None,
    variants: Sequence[Variant] | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> list[SwitchRow]:
    """Measure all variants in alternating rounds, each in a fresh process.

    Args:
        data: Folder with Multi30k's *.lc.norm.tok.{en,de}.gz; without it, synthetic sentences of the same lengths.
        rounds: Number of rounds.
        steps: Measured steps per visit.
        warm_up: Steps before them.
        settings: Settings of all variants by section, on top of recipe `tiny`.
        variants: The variants (default: `all_variants`).
        log: Called with a progress message after each visit.

    Returns:
        One row per variant. A variant that fails has an error and is not run again.
    """
    settings = settings or {}
    selected = all_variants(torch.get_num_threads()) if variants is None else variants
    visits: dict[str, list[Visit]] = {variant.name: [] for variant in selected}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, vocab_size = _text(data, folder, settings)
        for number in range(rounds):
            for index, variant in enumerate(selected):
                if variant.name in failed:
                    continue
                request = {"store": str(store), "vocab_size": vocab_size, "steps": warm_up + steps}
                request |= {"path": variant.path, "settings": [settings, variant.settings]}
                environment = _environment(variant, folder / f"code{index}")
                try:
                    result = run_worker("switches_worker", request, environment, _TIMEOUT)
                    visits[variant.name].append(summarise_visit(result["steps"], warm_up))
                    message = f"{visits[variant.name][-1].rate:,.0f} target tokens/s"
                except WorkerFailed as error:
                    message = failed[variant.name] = str(error)
                log(f"round {number + 1}, {variant.name}: {message}")
    return [SwitchRow(name, tuple(visits[name]), failed.get(name, "")) for name in visits]


def summarise_visit(steps: Sequence[tuple[float, int]], warm_up: int) -> Visit:
    """Compute the rate (median after the warm-up) and the compilation time from seconds and target tokens of each step.

    Much slower steps are those that compile: torch.compile recompiles for shapes that the first batch did not have.
    """
    rate = median(tokens / seconds for seconds, tokens in steps[warm_up:])
    durations = [(seconds, tokens / rate) for seconds, tokens in steps]
    compiling = sum(seconds - expected for seconds, expected in durations if seconds > _COMPILING * expected)
    return Visit(rate, steps[0][0], compiling)


def break_even(row: SwitchRow, other: SwitchRow) -> float | None:
    """Compute the minutes until a variant has processed as many tokens as another, both with empty compiler caches.

    Returns:
        0 if it is ahead from the beginning, None if it is slower.
    """
    ours, theirs = row.visits[0].compiling, other.visits[0].compiling
    if row.rate <= other.rate:
        return None
    return max(0.0, (row.rate * ours - other.rate * theirs) / (row.rate - other.rate) / 60) if ours > theirs else 0.0


def switches_table(rows: Sequence[SwitchRow]) -> str:
    """Format as Markdown, with all variants compared with the default."""
    base = next((row for row in rows if row.variant == DEFAULT and row.visits), None)
    table = as_table([_cells(row, base) for row in rows])
    failures = [f"- {row.variant}: {row.error}" for row in rows if row.error]
    return "\n".join([table, *(["", "Failed:", "", *failures] if failures else [])])


def _cells(row: SwitchRow, base: SwitchRow | None) -> dict[str, str]:
    names = ("target tokens/s: median (lowest to highest)", f"relative to {DEFAULT}", "first step finished, s")
    names = (*names, "the same with warm caches, s", f"break-even with {DEFAULT}, minutes")
    if not row.visits:
        return {"variant": row.variant} | dict.fromkeys(names, _EMPTY)
    rates = [visit.rate for visit in row.visits]
    later = [visit.first for visit in row.visits[1:]]
    cells = (
        f"{row.rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        f"×{row.rate / base.rate:.2f}" if base else _EMPTY,
        f"{row.visits[0].first:.1f}",
        f"{median(later):.1f}" if later else _EMPTY,
        _break_even_cell(row, base),
    )
    return {"variant": row.variant} | dict(zip(names, cells, strict=True))


def _break_even_cell(row: SwitchRow, base: SwitchRow | None) -> str:
    if base is None or row is base:
        return _EMPTY
    minutes = break_even(row, base)
    return "never" if minutes is None else "immediately" if minutes == 0 else f"{minutes:.1f}"


def _environment(variant: Variant, code: Path) -> dict[str, str]:
    """Return environment variables with separate, initially empty compiler caches in the folder `code`."""
    caches = {"NUMBA_CACHE_DIR": str(code / "numba"), "TORCHINDUCTOR_CACHE_DIR": str(code / "inductor")}
    threads = variant.threads or torch.get_num_threads()
    return {**caches, "OMP_NUM_THREADS": str(threads)}


def _text(data: Path | None, folder: Path, settings: Sections) -> tuple[Path, int]:
    """Prepare the sentence pairs and return their store and the vocabulary size."""
    config = load_recipe("tiny").replace(**settings).data
    if data is None:
        store = folder / "synthetic"
        write_store(store, [synthetic_pairs(_PAIRS, config.vocab_size)])
        return store, config.vocab_size
    train, valid = ([data / f"{name}.lc.norm.tok.{side}.gz" for side in ("en", "de")] for name in ("train", "val"))
    prepared = prepare(folder / "text", [corpus(*train)], [corpus(*valid)], config, say=lambda line: None)
    return prepared.train, len(prepared.tokenizer())


def synthetic_pairs(count: int, vocab_size: int) -> tuple[TokenIds, TokenIds]:
    """Make a block of pairs of random ids with lengths as in Multi30k's training text.

    With 10,000 subwords, the mean is 14 and the end token; the logarithms have a standard deviation of 0.33 and a
    correlation of 0.86.
    """
    random = np.random.default_rng(1)
    both = random.multivariate_normal([0, 0], [[1, 0.86], [0.86, 1]], size=count)
    lengths = np.clip(np.rint(np.exp(np.log(13.3) + 0.33 * both)), 4, 50).astype(int)
    pairs = [[random.integers(EOS + 1, vocab_size, length) for length in pair] for pair in lengths]
    source, target = zip(*pairs, strict=True)
    return token_ids(source), token_ids(target)
