"""What torch.compile, bf16 and threads bring to training recipe `tiny` on this processor, the start-up counted.

`measure_switches(data)` -> rows, `switches_table(rows)`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from allyouneed.config import load_recipe
from allyouneed.data.prepare import prepare
from allyouneed.data.store import write_store
from allyouneed.data.tokenizer import EOS
from allyouneed.paper.results import as_table
from benchmarks.measure.workers import WorkerFailed, ask

AS_IS = "as is"
_OURS, _PYTORCH, _COMPILED = "ours", "pytorch", "compiled"  # see `switches_worker.py`
_STALLED = 3  # times as long as usual
_LONGEST = 1800  # seconds of one visit, compiling included
_PAIRS = 20_000  # of made-up sentences
_NOTHING = "–"


@dataclass(frozen=True)
class Variant:
    """threads: None for as many as PyTorch takes by itself; path: through the model."""

    name: str
    settings: tuple[str, ...] = ()
    path: str = _OURS
    threads: int | None = None


@dataclass(frozen=True)
class Visit:
    """One process. rate: target tokens a second, once warm; first: seconds until the first step was done; lost: seconds
    that compiling took, in whichever steps."""

    rate: float
    first: float
    lost: float


@dataclass(frozen=True)
class SwitchRow:
    """A variant's visits, the first of them with nothing compiled before; why: it could not be measured."""

    variant: str
    visits: tuple[Visit, ...] = ()
    why: str = ""

    @property
    def rate(self) -> float:
        """Target tokens a second, median of the visits."""
        return median(visit.rate for visit in self.visits)


def all_variants(threads: int) -> list[Variant]:
    """Everything that is switched, alone, and what goes together. threads: PyTorch's own choice."""
    fewer = [2**i for i in range(threads.bit_length()) if 2**i < threads]
    return [
        Variant(AS_IS),
        *(Variant(f"{count} thread{'s' if count > 1 else ''}", threads=count) for count in fewer),
        Variant("training.plain=true", ("training.plain=true",)),
        Variant("PyTorch's dropout and attention", path=_PYTORCH),
        Variant("the same, torch.compile", path=_COMPILED),
        Variant("bf16", ("training.precision=bf16",)),
        Variant("bf16, PyTorch's, torch.compile", ("training.precision=bf16",), _COMPILED),
    ]


def measure_switches(
    data: Path | None = None,
    rounds: int = 3,
    steps: int = 40,
    warm_up: int = 8,
    settings: Sequence[str] = (),
    variants: Sequence[Variant] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[SwitchRow]:
    """Every variant in each round, in turn, each time in a fresh process: `warm_up` steps, then `steps` that count.

    data: a folder with Multi30k's *.lc.norm.tok.{en,de}.gz; without it sentences are made up, as long as Multi30k's.
    settings: of all variants, over recipe `tiny`. A variant that fails has a reason and is not tried again.
    """
    chosen = all_variants(torch.get_num_threads()) if variants is None else variants
    visits: dict[str, list[Visit]] = {variant.name: [] for variant in chosen}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, words = _text(data, folder, settings)
        for number in range(rounds):
            for place, variant in enumerate(chosen):
                if variant.name in failed:
                    continue
                asked = {"store": str(store), "words": words, "steps": warm_up + steps, "path": variant.path}
                asked["settings"] = [*settings, *variant.settings]
                try:
                    found = ask("switches_worker", asked, _surroundings(variant, folder / f"code{place}"), _LONGEST)
                    visits[variant.name].append(as_visit(found["steps"], warm_up))
                    seen = f"{visits[variant.name][-1].rate:,.0f} target tokens/s"
                except WorkerFailed as error:
                    seen = failed[variant.name] = str(error)
                say(f"round {number + 1}, {variant.name}: {seen}")
    return [SwitchRow(name, tuple(visits[name]), failed.get(name, "")) for name in visits]


def as_visit(steps: Sequence[tuple[float, int]], warm_up: int) -> Visit:
    """steps: seconds and target tokens of each. The rate is the median of the steps after the warm-up.

    A step that takes several times as long as that was one that compiled: torch.compile does so once more for shapes
    that the first batch did not let it expect.
    """
    rate = median(tokens / seconds for seconds, tokens in steps[warm_up:])
    beyond = [(seconds, tokens / rate) for seconds, tokens in steps]
    return Visit(rate, steps[0][0], sum(seconds - usual for seconds, usual in beyond if seconds > _STALLED * usual))


def caught_up(row: SwitchRow, other: SwitchRow) -> float | None:
    """Minutes of training until this variant has seen as many tokens as the other, each started with nothing compiled;
    0 if it is ahead from the beginning, None if it falls ever further behind."""
    ours, theirs = row.visits[0].lost, other.visits[0].lost
    if row.rate <= other.rate:
        return None
    return max(0.0, (row.rate * ours - other.rate * theirs) / (row.rate - other.rate) / 60) if ours > theirs else 0.0


def switches_table(rows: Sequence[SwitchRow]) -> str:
    """Markdown, the other variants beside the one that is as is."""
    base = next((row for row in rows if row.variant == AS_IS and row.visits), None)
    table = as_table([_cells(row, base) for row in rows])
    missing = [f"- {row.variant}: {row.why}" for row in rows if row.why]
    return "\n".join([table, *(["", "Failed:", "", *missing] if missing else [])])


def _cells(row: SwitchRow, base: SwitchRow | None) -> dict[str, str]:
    names = ("target tokens/s: median (lowest to highest)", f"beside {AS_IS}", "first step done, s")
    names = (*names, "the same, compiled before, s", f"caught up with {AS_IS}, minutes")
    if not row.visits:
        return {"variant": row.variant} | dict.fromkeys(names, _NOTHING)
    rates = [visit.rate for visit in row.visits]
    later = [visit.first for visit in row.visits[1:]]
    cells = (
        f"{row.rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        f"×{row.rate / base.rate:.2f}" if base else _NOTHING,
        f"{row.visits[0].first:.1f}",
        f"{median(later):.1f}" if later else _NOTHING,
        _when(row, base),
    )
    return {"variant": row.variant} | dict(zip(names, cells, strict=True))


def _when(row: SwitchRow, base: SwitchRow | None) -> str:
    if base is None or row is base:
        return _NOTHING
    minutes = caught_up(row, base)
    return "never" if minutes is None else "at once" if minutes == 0 else f"{minutes:.1f}"


def _surroundings(variant: Variant, code: Path) -> dict[str, str]:
    """Environment. code: where this variant's compilers keep what they made, so that the first visit has nothing."""
    caches = {"NUMBA_CACHE_DIR": str(code / "numba"), "TORCHINDUCTOR_CACHE_DIR": str(code / "inductor")}
    threads = variant.threads or torch.get_num_threads()
    return {**caches, "OMP_NUM_THREADS": str(threads)}


def _text(data: Path | None, folder: Path, settings: Sequence[str]) -> tuple[Path, int]:
    """-> a store of pairs, and the number of words."""
    config = load_recipe("tiny").override(settings).data
    if data is None:
        store = folder / "made-up"
        write_store(store, made_up_pairs(_PAIRS, config.vocab_size))
        return store, config.vocab_size
    train, valid = ([data / f"{name}.lc.norm.tok.{side}.gz" for side in ("en", "de")] for name in ("train", "val"))
    prepared = prepare(folder / "text", train, valid, config, say=lambda line: None)
    return prepared.train, len(prepared.tokenizer())


def made_up_pairs(count: int, words: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random ids in sentences as long as those of Multi30k's training text in 10,000 subwords of recipe `tiny`: 14 and
    their end in the mean, logarithms of deviation 0.33, correlated by 0.86 between the sides."""
    random = np.random.default_rng(1)
    both = random.multivariate_normal([0, 0], [[1, 0.86], [0.86, 1]], size=count)
    lengths = np.clip(np.rint(np.exp(np.log(13.3) + 0.33 * both)), 4, 50).astype(int)
    return [tuple(random.integers(EOS + 1, words, length) for length in pair) for pair in lengths]
