"""How time and peak memory of one training step grow with each size, and that logits are never held whole.

`measure_growth(budget_seconds)` -> points, `growth_table(points)`, `draw_growth(points, path)`, `logits_never_whole()`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from allyouneed.config import Config, load_recipe
from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results import as_table
from allyouneed.paper.table1.fits import exponent, upper_half
from allyouneed.training.size import training_flops

from .workers import WorkerFailed, ask

_ROUNDS = 3  # visits of each point at most
_PER_HEAD = 32  # units, when the width grows
_MEBIBYTE = 2**20
_FAR = 4  # logits count as never whole if the peak is under a quarter of them

SWEEPS: Mapping[str, Sequence[int]] = {
    "tokens": [2**i for i in range(9, 16)],
    "length": [2**i for i in range(4, 11)],
    "vocabulary": [1000 * 2**i for i in range(7)],
    "width": [2**i for i in range(6, 11)],
    "depth": [2**i for i in range(5)],
}
MEANING = {
    "tokens": "tokens a batch, of each side",
    "length": "tokens a sentence, as many a batch",
    "vocabulary": "words",
    "width": "d_model, d_ff = 4 d_model, d_k = 32",
    "depth": "layers of the encoder, and of the decoder",
}
THEORY = {
    "tokens": "1, beside the optimizer's part and the weights' memory",
    "length": "time 0, towards 1 as attention (a sentence's length squared) outgrows the rest; memory 0",
    "vocabulary": "1, beside the layers' part",
    "width": "1 to 2, and 3 for Muon's own products; memory 1 to 2",
    "depth": "1, beside the words' part",
}


@dataclass(frozen=True)
class Sizes:
    """Of one training step on sentences without padding. tokens: of each side; layers: of the encoder, as of the
    decoder."""

    tokens: int = 4096
    length: int = 16  # with its end; Multi30k's mean is 15
    words: int = 10_000
    d_model: int = 128
    d_ff: int = 256
    heads: int = 4
    layers: int = 4

    def grown(self, sweep: str, value: int) -> Sizes:
        """With the size that a sweep is about."""
        if sweep == "length":
            return replace(self, length=value, tokens=max(self.tokens, value))
        if sweep == "width":
            return replace(self, d_model=value, d_ff=4 * value, heads=max(1, value // _PER_HEAD))
        return replace(self, **{{"tokens": "tokens", "vocabulary": "words", "depth": "layers"}[sweep]: value})

    def settings(self) -> list[str]:
        model = {"d_model": self.d_model, "d_ff": self.d_ff, "num_heads": self.heads}
        model |= {"encoder_layers": self.layers, "decoder_layers": self.layers}
        return [f"model.{name}={value}" for name, value in model.items()]


@dataclass(frozen=True)
class GrowthPoint:
    """One size of one sweep. seconds: of a step, the median of so many; peak_bytes: resident over before the model was
    there; operations: floating-point, of matrix products; why: nothing was measured."""

    sweep: str
    value: int
    operations: float
    seconds: float | None = None
    peak_bytes: int | None = None
    steps: int = 0
    why: str = ""


@dataclass(frozen=True)
class LogitsCheck:
    """peak_bytes: resident during loss and gradients, over before; whole_bytes: of all logits in fp32."""

    tokens: int
    words: int
    peak_bytes: int
    whole_bytes: int

    @property
    def share(self) -> float:
        return self.peak_bytes / self.whole_bytes

    @property
    def holds(self) -> bool:
        return self.share * _FAR < 1


def measure_growth(
    budget_seconds: float,
    sweeps: Mapping[str, Sequence[int]] = SWEEPS,
    base: Sizes | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[GrowthPoint]:
    """Every point once, whatever it takes, and up to three times while the budget lasts; at each visit a few steps in a
    fresh process. Sweeps take turns, forth and back, so that a machine that gets slower does not look like growth.

    base: what the other sizes are, those of recipe `tiny` unless given. A point that fails has a reason instead.
    """
    base = base or Sizes()
    order = [(sweep, value) for _, sweep, value in sorted((i, s, v) for s in sweeps for i, v in enumerate(sweeps[s]))]
    # Half of the budget goes into starting processes and the slowest points.
    share = budget_seconds / (2 * _ROUNDS * len(order))
    visits: dict[tuple[str, int], list[dict]] = {point: [] for point in order}
    failed: dict[tuple[str, int], str] = {}
    begun, spent = time.perf_counter(), 0.0
    for number in range(_ROUNDS):
        round_begun = time.perf_counter()
        if number and round_begun + spent > begun + budget_seconds:
            break
        for sweep, value in order[:: -1 if number % 2 else 1]:
            if (sweep, value) not in failed:
                try:
                    visits[sweep, value].append(_visit(base.grown(sweep, value), share))
                except WorkerFailed as error:
                    failed[sweep, value] = str(error)
                say(f"round {number + 1}, {sweep} {value:,}: {_visited(visits[sweep, value], failed.get((sweep, value)))}")
        spent = time.perf_counter() - round_begun
    return [
        _point(sweep, value, base, visits[sweep, value], failed.get((sweep, value), ""))
        for sweep in sweeps
        for value in sweeps[sweep]
    ]


def step_operations(config: Config, sizes: Sizes) -> float:
    """Floating-point operations of matrix products: what a token passes, attention's own, and Muon's iteration.

    Attention: two products of n² · d a sentence forward and twice as many backward; half of them where the future is
    hidden. Muon (training/optimizer.py): five times three products for each matrix of the layers, whatever the tokens.
    """
    tokens = sizes.tokens * training_flops(config.model, sizes.words)
    attention = 12.0 * sizes.tokens * sizes.length * sizes.d_model * sizes.layers * 2.5
    matrices = [(sizes.d_model, sizes.d_model, 12), (sizes.d_model, sizes.d_ff, 4)]  # of an encoder and a decoder layer
    muon = sum(
        sizes.layers * count * 5 * (4.0 * min(rows, columns) ** 2 * max(rows, columns) + 2.0 * min(rows, columns) ** 3)
        for rows, columns, count in matrices
    )
    return tokens + attention + (muon if config.training.optimizer == "muon" else 0.0)


def growth_table(points: Sequence[GrowthPoint]) -> str:
    """Markdown. Exponents are fitted over the upper half of each sweep, small sizes show what a step costs anyway."""
    rows = []
    for sweep in dict.fromkeys(point.sweep for point in points):
        measured = _measured(points, sweep)
        fitted = upper_half(measured)
        rows.append(
            {
                "sweep": f"{sweep}: {MEANING[sweep]}",
                "from": f"{measured[0].value:,}" if measured else "–",
                "to": f"{measured[-1].value:,}" if measured else "–",
                "fitted from": f"{fitted[0].value:,}" if fitted else "–",
                "exponent of time": _exponent(fitted, "seconds"),
                "exponent of memory": _exponent(fitted, "peak_bytes"),
                "of operations, counted": _exponent(fitted, "operations"),
                "theory": THEORY[sweep],
            }
        )
    left_out = [f"{point.sweep} {point.value:,} ({point.why})" for point in points if point.seconds is None]
    return as_table(rows) + (f"\n\nLeft out: {'; '.join(left_out)}." if left_out else "")


def draw_growth(points: Sequence[GrowthPoint], path: Path) -> None:
    """A PNG: time above, memory below, a panel a sweep, with the fitted power as a dashed line."""
    sweeps = list(dict.fromkeys(point.sweep for point in points))
    figure = new_figure(3.2 * len(sweeps), 6)
    panels = figure.subplots(2, len(sweeps), squeeze=False)
    for row, (what, unit, scale) in enumerate((("seconds", "ms a step", 1e3), ("peak_bytes", "MiB", 1 / _MEBIBYTE))):
        for axes, sweep, colour in zip(panels[row], sweeps, COLOURS, strict=False):
            measured = _measured(points, sweep)
            values = [point.value for point in measured]
            axes.plot(values, [scale * getattr(point, what) for point in measured], "o-", color=colour, markersize=3.5)
            _draw_fit(axes, upper_half(measured), what, scale)
            title = f"{'time' if what == 'seconds' else 'peak memory'}: {sweep}"
            label(axes, title, MEANING[sweep], unit if axes is panels[row][0] else "")
            axes.xaxis.label.set_fontsize(8)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
    figure.savefig(path, dpi=150)


def logits_never_whole(
    tokens: int = 8192, words: int = 64_000, d_model: int = 128, plain: bool = False
) -> LogitsCheck:
    """The loss and its gradients in a fresh process; its inputs count too. plain: the twin that does hold all logits,
    to see that the measurement would notice. Errors: `WorkerFailed`."""
    asked = {"measure": "loss", "tokens": tokens, "words": words, "d_model": d_model, "plain": plain}
    return LogitsCheck(tokens, words, ask("growth_worker", asked)["peak"], 4 * tokens * words)


def _visit(sizes: Sizes, share: float) -> dict:
    """share: seconds to spend on steps, beyond the fewest."""
    shape = {"words": sizes.words, "sentences": max(1, sizes.tokens // sizes.length), "length": sizes.length}
    return ask("growth_worker", {"measure": "step", "settings": sizes.settings(), "share": share, **shape})


def _visited(visits: Sequence[dict], why: str | None) -> str:
    if why:
        return why
    return f"{1e3 * median(visits[-1]['seconds']):,.0f} ms, {visits[-1]['peak'] / _MEBIBYTE:,.0f} MiB"


def _point(sweep: str, value: int, base: Sizes, visits: Sequence[dict], why: str) -> GrowthPoint:
    sizes = base.grown(sweep, value)
    operations = step_operations(load_recipe("tiny").override(sizes.settings()), sizes)
    seconds = [each for visit in visits for each in visit["seconds"]]
    if not seconds:
        return GrowthPoint(sweep, value, operations, why=why)
    return GrowthPoint(
        sweep, value, operations, median(seconds), max(visit["peak"] for visit in visits), len(seconds)
    )


def _measured(points: Sequence[GrowthPoint], sweep: str) -> list[GrowthPoint]:
    """Small to large."""
    found = [point for point in points if point.sweep == sweep and point.seconds and point.peak_bytes]
    return sorted(found, key=lambda point: point.value)


def _exponent(points: Sequence[GrowthPoint], what: str) -> str:
    found = exponent([point.value for point in points], [getattr(point, what) for point in points])
    return "–" if found is None else f"{found:.2f}"


def _draw_fit(axes, points: Sequence[GrowthPoint], what: str, scale: float) -> None:
    values = [point.value for point in points]
    power = exponent(values, [getattr(point, what) for point in points])
    if power is None:
        return
    middle = exp(sum(log(scale * getattr(point, what)) - power * log(point.value) for point in points) / len(points))
    axes.plot(values, [middle * value**power for value in values], "--", color="#7a7a7a", label=f"exponent {power:.2f}")
    axes.legend(fontsize=8, frameon=False)
