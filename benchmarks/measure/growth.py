"""How time and peak memory of one training step grow with each size, and whether logits are ever held whole.

`measure_growth(budget_seconds)` -> points, `growth_table(points)`, `draw_growth(points, path)`, `logits_never_whole()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results import as_table
from allyouneed.paper.table1.fits import exponent, upper_half
from benchmarks.measure.sizes import MEANING, SWEEPS, THEORY, Sizes, Sweeps
from benchmarks.measure.workers import WorkerFailed, ask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUNDS = 3  # visits of each point at most
_FAR = 4  # logits were never whole if the peak is under a quarter of them
_MEBIBYTE = 2**20
_NOTHING = "–"


@dataclass(frozen=True)
class GrowthPoint:
    """One size of one sweep. operations: of matrix products, counted; seconds: of a step, the median of `steps`;
    peak_bytes: resident, over before there was a model; why: nothing was measured."""

    sweep: str
    value: int
    operations: float
    seconds: float | None = None
    peak_bytes: int | None = None
    steps: int = 0
    why: str = ""


@dataclass(frozen=True)
class LogitsCheck:
    """peak_bytes: resident while loss and gradients were made, over before their inputs; whole_bytes: of all logits."""

    tokens: int
    words: int
    peak_bytes: int

    @property
    def whole_bytes(self) -> int:
        return 4 * self.tokens * self.words

    @property
    def share(self) -> float:
        return self.peak_bytes / self.whole_bytes

    @property
    def holds(self) -> bool:
        return _FAR * self.share < 1

    def __str__(self) -> str:
        peak, whole = self.peak_bytes / _MEBIBYTE, self.whole_bytes / _MEBIBYTE
        return (
            f"The loss and its gradients at {self.tokens:,} tokens and {self.words:,} words took {peak:,.0f} MiB; all "
            f"logits are {whole:,.0f} MiB: {'never' if self.holds else 'it seems they were'} held whole."
        )


def measure_growth(
    budget_seconds: float,
    sweeps: Sweeps = SWEEPS,
    base: Sizes | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[GrowthPoint]:
    """Visits every point once, whatever that takes, and up to three times within the budget: a few steps in a fresh
    process. The sweeps take turns, there and back again, so that a machine that slows down does not look like growth.

    base: the sizes that do not grow, those of recipe `tiny` unless given. A point that cannot be measured says why.
    """
    base, turns = base or Sizes(), _turns(sweeps)
    share = budget_seconds / (2 * _ROUNDS * len(turns))  # half of the budget is for starting, and for large points
    visits: dict[tuple[str, int], list[dict]] = {turn: [] for turn in turns}
    failed: dict[tuple[str, int], str] = {}
    begun, longest = time.perf_counter(), 0.0
    for number in range(_ROUNDS):
        round_begun = time.perf_counter()
        if number and round_begun - begun + longest > budget_seconds:
            break
        for turn in turns[:: -1 if number % 2 else 1]:
            if turn not in failed:
                try:
                    visits[turn].append(_visit(base.grown(*turn), share))
                    seen = _seen(visits[turn][-1])
                except WorkerFailed as error:
                    seen = failed[turn] = str(error)
                say(f"round {number + 1}, {turn[0]} {turn[1]:,}: {seen}")
        longest = max(longest, time.perf_counter() - round_begun)
    keys = [(sweep, value) for sweep, values in sweeps.items() for value in values]
    return [_point(*key, base.grown(*key), visits[key], failed.get(key, "")) for key in keys]


def growth_table(points: Sequence[GrowthPoint]) -> str:
    """Markdown. Exponents are fitted over the upper half of each sweep: small sizes show what any step costs."""
    rows = []
    for sweep in _sweeps(points):
        measured = _measured(points, sweep, "seconds")
        fitted = upper_half(measured)
        peaks = upper_half(_measured(points, sweep, "peak_bytes"))
        rows.append(
            {
                "what grows": f"{sweep}: {MEANING[sweep]}",
                "from": f"{measured[0].value:,}" if measured else _NOTHING,
                "to": f"{measured[-1].value:,}" if measured else _NOTHING,
                "fitted from": f"{fitted[0].value:,}" if fitted else _NOTHING,
                "exponent of time": _rounded(_power(fitted, "seconds")),
                "exponent of memory": _rounded(_power(peaks, "peak_bytes")),
                "of operations, counted": _rounded(_power(fitted, "operations")),
                "theory": THEORY[sweep],
            }
        )
    missing = [f"- {point.sweep} {point.value:,}: {point.why}" for point in points if point.why and not point.steps]
    return "\n".join([as_table(rows), *(["", "Not measured:", "", *missing] if missing else [])])


def draw_growth(points: Sequence[GrowthPoint], path: Path) -> None:
    """A PNG: time above, memory below, a panel for each sweep, with the fitted powers."""
    sweeps = _sweeps(points)
    figure = new_figure(3.2 * len(sweeps), 6)
    panels = figure.subplots(2, len(sweeps), squeeze=False)
    kinds = (("time", "seconds", "ms a step", 1e3), ("memory", "peak_bytes", "MiB at the peak", 1 / _MEBIBYTE))
    for row, (name, what, unit, scale) in zip(panels, kinds, strict=True):
        for axes, sweep, colour in zip(row, sweeps, COLOURS, strict=False):
            label(axes, f"{name}: {sweep}", MEANING[sweep], unit if axes is row[0] else "")
            measured = _measured(points, sweep, what)
            if not measured:
                continue
            across, up = _curve(measured, what)
            axes.plot(across, [scale * y for y in up], "o-", color=colour, markersize=3.5)
            _draw_power(axes, upper_half(measured), what, scale)
            _scale(axes, across)
    figure.savefig(path, format="png", dpi=150)


def logits_never_whole(tokens: int = 8192, words: int = 64_000, d_model: int = 128, plain: bool = False) -> LogitsCheck:
    """Makes the loss and its gradients in a fresh process; hidden states and weights count too.

    plain: the twin, which does hold all logits, to see that the check would notice. Errors: `WorkerFailed`.
    """
    asked = {"measure": "loss", "tokens": tokens, "words": words, "d_model": d_model, "plain": plain}
    return LogitsCheck(tokens, words, ask("growth_worker", asked)["peak"])


def _turns(sweeps: Sweeps) -> list[tuple[str, int]]:
    """The first of each sweep, then the second of each, ..."""
    together = zip_longest(*([(sweep, value) for value in values] for sweep, values in sweeps.items()))
    return [turn for turns in together for turn in turns if turn is not None]


def _visit(sizes: Sizes, share: float) -> dict:
    """share: seconds to spend on steps, if the fewest take less."""
    shape = {"words": sizes.words, "sentences": max(1, sizes.tokens // sizes.length), "length": sizes.length}
    return ask("growth_worker", {"measure": "step", "settings": sizes.settings(), "share": share, **shape})


def _seen(visit: dict) -> str:
    return f"{1e3 * median(visit['seconds']):,.0f} ms, {visit['peak'] / _MEBIBYTE:,.0f} MiB"


def _point(sweep: str, value: int, sizes: Sizes, visits: Sequence[dict], why: str) -> GrowthPoint:
    """Of all visits that succeeded."""
    seconds = [each for visit in visits for each in visit["seconds"]]
    if not seconds:
        return GrowthPoint(sweep, value, sizes.operations(), why=why)
    peak = max(visit["peak"] for visit in visits)
    return GrowthPoint(sweep, value, sizes.operations(), median(seconds), peak, len(seconds), why)


def _sweeps(points: Sequence[GrowthPoint]) -> list[str]:
    return list(dict.fromkeys(point.sweep for point in points))


def _measured(points: Sequence[GrowthPoint], sweep: str, what: str) -> list[GrowthPoint]:
    """Small to large, those that have a logarithm."""
    return sorted((p for p in points if p.sweep == sweep and getattr(p, what)), key=lambda p: p.value)


def _curve(points: Sequence[GrowthPoint], what: str) -> tuple[list[int], list[float]]:
    return [point.value for point in points], [getattr(point, what) for point in points]


def _power(points: Sequence[GrowthPoint], what: str) -> float | None:
    return exponent(*_curve(points, what))


def _rounded(power: float | None) -> str:
    return _NOTHING if power is None else f"{power:.2f}".replace("-0.00", "0.00")


def _scale(axes: Axes, across: Sequence[int]) -> None:
    """Logarithms both ways; every other value is named."""
    from matplotlib.ticker import LogFormatter  # here, for only drawing needs matplotlib

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(across[::2], [f"{value:,}" for value in across[::2]])
    axes.set_xticks([], minor=True)
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.tick_params(which="both", labelsize=8)
    axes.xaxis.label.set_fontsize(8)


def _draw_power(axes: Axes, points: Sequence[GrowthPoint], what: str, scale: float) -> None:
    """The fitted line, through the middle of its points."""
    power = _power(points, what)
    if power is None:
        return
    across, up = _curve(points, what)
    factor = math.exp(sum(math.log(scale * y) - power * math.log(x) for x, y in zip(across, up, strict=True)) / len(up))
    line = [factor * x**power for x in across]
    axes.plot(across, line, "--", color="#222222", linewidth=1, label=f"exponent {_rounded(power)}")
    axes.legend(fontsize=8, frameon=False)
