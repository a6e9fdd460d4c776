"""Growth of a training step's time and peak memory with each size, and a check that logits are never materialised."""

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
from allyouneed.paper.results_folder import as_table
from allyouneed.paper.table1.fits import exponent, upper_half
from benchmarks.measure.sizes import MEANING, SWEEPS, THEORY, Sizes, Sweeps
from benchmarks.measure.workers import WorkerFailed, run_worker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUNDS = 3  # maximum visits of each point
_MAX_SHARE = 0.25  # a peak below this share of all logits proves that they were never materialised
_MEBIBYTE = 2**20
_EMPTY = "–"


@dataclass(frozen=True)
class GrowthPoint:
    """One size of a sweep.

    Attributes:
        sweep: Name of the sweep.
        value: Value of the growing size.
        operations: Floating-point operations of the step's matrix products.
        seconds: Median time of a step.
        peak_bytes: Peak resident memory above that before the model was built.
        estimated_bytes: Training's own estimate of it.
        steps: Number of measured steps.
        error: Why nothing was measured; empty otherwise.
    """

    sweep: str
    value: int
    operations: float
    seconds: float | None = None
    peak_bytes: int | None = None
    steps: int = 0
    error: str = ""
    estimated_bytes: int = 0


@dataclass(frozen=True)
class LogitsCheck:
    """Peak memory of a loss and its gradients compared with the size of all logits."""

    tokens: int
    vocab_size: int
    peak_bytes: int

    @property
    def logits_bytes(self) -> int:
        return 4 * self.tokens * self.vocab_size

    @property
    def share(self) -> float:
        return self.peak_bytes / self.logits_bytes

    @property
    def passed(self) -> bool:
        return self.share < _MAX_SHARE

    def __str__(self) -> str:
        peak, logits = self.peak_bytes / _MEBIBYTE, self.logits_bytes / _MEBIBYTE
        verdict = "they are never materialised" if self.passed else "they were probably materialised"
        return (
            f"The loss and its gradients for {self.tokens:,} tokens and a vocabulary of {self.vocab_size:,} used "
            f"{peak:,.0f} MiB; all logits take {logits:,.0f} MiB: {verdict}."
        )


def measure_growth(
    budget_seconds: float,
    sweeps: Sweeps = SWEEPS,
    base: Sizes | None = None,
    log: Callable[[str], None] = lambda line: None,
    min_steps: int = 3,
) -> list[GrowthPoint]:
    """Measure a few steps of every point in a fresh process: once in any case, up to three times within the budget.

    The sweeps alternate, forwards and backwards, so that a machine that slows down does not look like growth.

    Args:
        budget_seconds: Time for all measurements.
        sweeps: Values by the name of the sweep.
        base: Sizes that do not grow (default: those of recipe `tiny`).
        log: Called with a progress message after each visit.
        min_steps: Steps that are measured in a visit in any case, after one that is not.

    Returns:
        The points of all sweeps; those that could not be measured have an error.
    """
    base, turns = base or Sizes(), _turns(sweeps)
    share = budget_seconds / (2 * _ROUNDS * len(turns))  # half of the budget is for start-up and large points
    visits: dict[tuple[str, int], list[dict]] = {turn: [] for turn in turns}
    failed: dict[tuple[str, int], str] = {}
    start, longest_round = time.perf_counter(), 0.0
    for number in range(_ROUNDS):
        round_start = time.perf_counter()
        if number and round_start - start + longest_round > budget_seconds:
            break
        for turn in turns[:: -1 if number % 2 else 1]:
            if turn not in failed:
                try:
                    visits[turn].append(_visit(base.grown(*turn), share, min_steps))
                    message = _summary(visits[turn][-1])
                except WorkerFailed as error:
                    message = failed[turn] = str(error)
                log(f"round {number + 1}, {turn[0]} {turn[1]:,}: {message}")
        longest_round = max(longest_round, time.perf_counter() - round_start)
    keys = [(sweep, value) for sweep, values in sweeps.items() for value in values]
    return [_point(*key, base.grown(*key), visits[key], failed.get(key, "")) for key in keys]


def growth_table(points: Sequence[GrowthPoint]) -> str:
    """Format as Markdown. Exponents are fitted over the upper half of each sweep; small sizes show fixed costs."""
    rows = []
    for sweep in _sweeps(points):
        measured = _measured(points, sweep, "seconds")
        fitted = upper_half(measured)
        peaks = upper_half(_measured(points, sweep, "peak_bytes"))
        rows.append(
            {
                "size": f"{sweep}: {MEANING[sweep]}",
                "from": f"{measured[0].value:,}" if measured else _EMPTY,
                "to": f"{measured[-1].value:,}" if measured else _EMPTY,
                "fitted from": f"{fitted[0].value:,}" if fitted else _EMPTY,
                "exponent of time": _rounded(_power(fitted, "seconds")),
                "exponent of memory": _rounded(_power(peaks, "peak_bytes")),
                "exponent of operations": _rounded(_power(fitted, "operations")),
                "theory": THEORY[sweep],
                "estimated / measured memory": _estimates(_measured(points, sweep, "peak_bytes")),
            }
        )
    failures = [
        f"- {point.sweep} {point.value:,}: {point.error}" for point in points if point.error and not point.steps
    ]
    return "\n".join([as_table(rows), *(["", "Not measured:", "", *failures] if failures else [])])


def draw_growth(points: Sequence[GrowthPoint], path: Path) -> None:
    """Draw a PNG with time in the upper and memory in the lower row, one column per sweep, with the fitted powers."""
    sweeps = _sweeps(points)
    figure = new_figure(3.2 * len(sweeps), 6)
    panels = figure.subplots(2, len(sweeps), squeeze=False)
    kinds = (("time", "seconds", "ms per step", 1e3), ("memory", "peak_bytes", "peak MiB", 1 / _MEBIBYTE))
    for row, (name, what, unit, scale) in zip(panels, kinds, strict=True):
        for axes, sweep, colour in zip(row, sweeps, COLOURS, strict=False):
            label(axes, f"{name}: {sweep}", MEANING[sweep], unit if axes is row[0] else "")
            measured = _measured(points, sweep, what)
            if not measured:
                continue
            x_values, y_values = _curve(measured, what)
            axes.plot(x_values, [scale * y for y in y_values], "o-", color=colour, markersize=3.5)
            _draw_power(axes, upper_half(measured), what, scale)
            _scale(axes, x_values)
    figure.savefig(path, format="png", dpi=150)


def check_logits(tokens: int = 8192, vocab_size: int = 64_000, d_model: int = 128, plain: bool = False) -> LogitsCheck:
    """Compute a loss and its gradients in a fresh process and compare the peak memory with the size of all logits.

    Args:
        tokens: Number of target tokens.
        vocab_size: Size of the vocabulary.
        d_model: Width of the hidden states.
        plain: Use the reference implementation, which materialises all logits, to test the check itself.

    Raises:
        WorkerFailed: If the process fails.
    """
    request = {"measure": "loss", "tokens": tokens, "vocab_size": vocab_size, "d_model": d_model, "plain": plain}
    return LogitsCheck(tokens, vocab_size, run_worker("growth_worker", request)["peak"])


def _turns(sweeps: Sweeps) -> list[tuple[str, int]]:
    """Order the points: the first of each sweep, then the second of each, and so on."""
    columns = zip_longest(*([(sweep, value) for value in values] for sweep, values in sweeps.items()))
    return [turn for turns in columns for turn in turns if turn is not None]


def _visit(sizes: Sizes, share: float, min_steps: int) -> dict:
    """Measure one point. share: Seconds to spend on steps, beyond the minimum number of steps."""
    shape = {"vocab_size": sizes.vocab_size, "sentences": max(1, sizes.tokens // sizes.length), "length": sizes.length}
    request = {"measure": "step", "recipe": sizes.recipe, "model": sizes.model_settings(), "share": share, **shape}
    request["min_steps"] = min_steps
    return run_worker("growth_worker", request)


def _estimates(points: Sequence[GrowthPoint]) -> str:
    """Show the range of estimated memory divided by measured memory."""
    ratios = [point.estimated_bytes / point.peak_bytes for point in points if point.peak_bytes]
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else _EMPTY


def _summary(visit: dict) -> str:
    return f"{1e3 * median(visit['seconds']):,.0f} ms, {visit['peak'] / _MEBIBYTE:,.0f} MiB"


def _point(sweep: str, value: int, sizes: Sizes, visits: Sequence[dict], error: str) -> GrowthPoint:
    """Combine all successful visits of a point."""
    seconds = [each for visit in visits for each in visit["seconds"]]
    if not seconds:
        return GrowthPoint(sweep, value, sizes.operations(), error=error)
    peak = max(visit["peak"] for visit in visits)
    estimate = sizes.estimated_memory()
    return GrowthPoint(sweep, value, sizes.operations(), median(seconds), peak, len(seconds), error, estimate)


def _sweeps(points: Sequence[GrowthPoint]) -> list[str]:
    return list(dict.fromkeys(point.sweep for point in points))


def _measured(points: Sequence[GrowthPoint], sweep: str, what: str) -> list[GrowthPoint]:
    """Return the measured points of a sweep with a positive value, in increasing order."""
    return sorted((p for p in points if p.sweep == sweep and getattr(p, what)), key=lambda p: p.value)


def _curve(points: Sequence[GrowthPoint], what: str) -> tuple[list[int], list[float]]:
    return [point.value for point in points], [getattr(point, what) for point in points]


def _power(points: Sequence[GrowthPoint], what: str) -> float | None:
    return exponent(*_curve(points, what))


def _rounded(power: float | None) -> str:
    return _EMPTY if power is None else f"{power:.2f}".replace("-0.00", "0.00")


def _scale(axes: Axes, values: Sequence[int]) -> None:
    """Use logarithmic axes and label every other value."""
    from matplotlib.ticker import LogFormatter  # only drawing needs matplotlib

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values[::2], [f"{value:,}" for value in values[::2]])
    axes.set_xticks([], minor=True)
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    axes.tick_params(which="both", labelsize=8)
    axes.xaxis.label.set_fontsize(8)


def _draw_power(axes: Axes, points: Sequence[GrowthPoint], what: str, scale: float) -> None:
    """Draw the fitted power through the geometric mean of its points."""
    power = _power(points, what)
    if power is None:
        return
    x_values, y_values = _curve(points, what)
    factor = math.exp(
        sum(math.log(scale * y) - power * math.log(x) for x, y in zip(x_values, y_values, strict=True)) / len(x_values)
    )
    line = [factor * x**power for x in x_values]
    axes.plot(x_values, line, "--", color="#222222", linewidth=1, label=f"exponent {_rounded(power)}")
    axes.legend(fontsize=8, frameon=False)
