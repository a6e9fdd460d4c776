"""Table 1's page and plots, from its tables. Whatever it says in numbers was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results import Row, as_table
from allyouneed.paper.table1.compared_layers import FUSED, LAYERS, NEIGHBOURHOOD, REACH, RECURRENT, SELF_ATTENTION
from allyouneed.paper.table1.layer_cost import MOST, Measured
from allyouneed.paper.table1.tables import BATCH, GIGA, NARROW, Sweeps, Times, by_layer, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables = Mapping[str, Sequence[Row]]
_AGREES = 0.15  # of an exponent
_MEBIBYTE = 2**20
_LEFT_OUT = "–"


def write_page(tables: Tables, sweeps: Sweeps, peak: float, where: str) -> str:
    """Markdown. peak: floating-point operations a second of a large matrix product; where: it was computed, in words,
    after "in single precision"."""
    return "\n\n".join(
        [
            "# Table 1, measured here",
            f"One layer and one sequence of n vectors of width d, in single precision, {where}. Time is that of a "
            f"training step, forward and backward: the median of at most {MOST} repetitions, in which the layers take "
            "turns. An exponent is fitted over the larger half of its range: at small sizes the cost of starting an "
            "operation hides the "
            "order. *Operations* are those of the layer's matrix products, counted exactly. *Memory* is what the "
            "forward pass keeps for the backward pass, without parameters. `points.csv` has every measurement, on CUDA "
            "a step's peak of memory too.",
            "Table 1 counts attention's two products and leaves its projections out, another 8 · n · d² operations of "
            "each layer: both are measured. All have one head; with h of them the n × n weights are kept h times. The "
            f"restricted layer computes blocks of {3 * REACH} keys to show each position its {NEIGHBOURHOOD}.",
            "## How time and memory grow",
            *(_exponent_table(tables["exponents"], axis, sweeps) for axis in ("n", "d")),
            "![time](time.png)\n\n![memory](memory.png)",
            _on_memory(tables, sweeps),
            "## Where self-attention and recurrence cross",
            _crossing_table(tables["crossings"]),
            _on_crossings(tables["crossings"], sweeps),
            "## What sequential operations cost",
            _sequential_table(tables["sequential"]),
            _on_sequence(tables, sweeps, peak),
            "## Where this disagrees with Table 1, and what could explain it",
            _disagreements(tables["exponents"], tables["points"]),
            _left_out(tables["points"]),
        ]
    )


def _exponent_table(rows: Sequence[Row], axis: str, sweeps: Sweeps) -> str:
    return as_table(
        [
            {
                f"{axis} grows, {sweeps.held(axis)}": row["layer"],
                "Table 1": row["Table 1"],
                "exponent there": row["exponent"],
                "of operations": _exponent(row["counted"]),
                "of time": _exponent(row["time"]),
                "of memory": _exponent(row["memory"]),
                f"fitted over {axis}": f"{row['from']} to {row['to']}" if row["time"] is not None else _LEFT_OUT,
            }
            for row in rows
            if row["grows"] == axis
        ]
    )


def _on_memory(tables: Tables, sweeps: Sweeps) -> str:
    """Table 1 has no column for memory; the n × n weights are the explicit form's."""
    kept = {(row["layer"], row["n"]): row["saved_bytes"] for row in _alone(tables["points"], d=sweeps.width)}
    n = max((n for layer, n in kept if layer == SELF_ATTENTION.name), default=0)
    layers = "; ".join(
        f"{layer.name}: {_number(kept[layer.name, n] / _MEBIBYTE)} MiB" for layer in LAYERS if (layer.name, n) in kept
    )
    [fused] = [row for row in tables["exponents"] if row["layer"] == FUSED.name and row["grows"] == "n"]
    return (
        f"Table 1 has no column for memory. Kept at n = {n}, d = {sweeps.width}: {layers}. The n × n weights alone are "
        f"{_number(4 * n * n / _MEBIBYTE)} MiB. The fused kernel computes them a second time in the backward pass "
        f"rather than keep them: its memory grows as n^{_exponent(fused['memory'])}."
    )


def _crossing_table(rows: Sequence[Row]) -> str:
    return as_table(
        [
            {
                "attention beside LSTM": row["attention"],
                "": f"{row['grows']} grows, {row['held']}",
                "by Table 1": f"{row['grows']} = {row['by Table 1']}",
                "by operations": _place(row, "by operations"),
                "by the clock": _place(row, "by the clock"),
                "time beside LSTM's": _beside(row),
            }
            for row in rows
        ]
    )


def _place(row: Row, by: str) -> str:
    return "none in range" if row[by] is None else f"{row['grows']} = {row[by]:,.0f}"


def _beside(row: Row) -> str:
    if row["from"] is None:
        return _LEFT_OUT
    return f"×{row['times LSTM at from']:.2g} at {row['from']}, ×{row['times LSTM at to']:.2g} at {row['to']}"


def _on_crossings(rows: Sequence[Row], sweeps: Sweeps) -> str:
    [plain] = [row for row in rows if row["attention"] == SELF_ATTENTION.name and row["grows"] == "n"]
    counted, timed = plain["by operations"], plain["by the clock"]
    found = (
        f"lies at n = {timed / sweeps.width:.2g} · d by the clock"
        if timed is not None
        else f"does not lie between n = {plain['from']} and {plain['to']} by the clock"
    )
    return (
        "Table 1 puts the crossing at n = d, where n² · d equals n · d²: orders, without their factors and without the "
        "projections. An LSTM has four gates of two matrices each, 16 · n · d² operations against 4 · n² · d, and so "
        f"does more up to n = {counted / sweeps.width:.2g} · d. At d = {sweeps.width} the crossing {found}. What moves "
        "it from there are the rates of the next table, and softmax and gates, which are not counted."
    )


def _sequential_table(rows: Sequence[Row]) -> str:
    return as_table(
        [
            {
                "layer": row["layer"],
                "sequential operations": row["sequential operations"],
                "longest path": row["longest path"],
                "at n": row["longest n"],
                "GFLOP/s there": _number(row["GFLOP/s there"]),
                "of a matrix product's": _number(row["of peak"], lambda share: f"{share:.0%}"),
                "GFLOP/s, 1 sequence": _number(row["GFLOP/s alone"]),
                f"{BATCH} sequences": _number(row["GFLOP/s together"]),
                "gain": _number(row["gain"], lambda gain: f"×{gain:.2f}"),
            }
            for row in rows
        ]
    )


def _on_sequence(tables: Tables, sweeps: Sweeps, peak: float) -> str:
    """What is sequential within a sequence can run in parallel over sequences only (section 1)."""
    text = (
        f"A large matrix product runs at {peak / GIGA:,.0f} GFLOP/s. The last columns are at d = {NARROW} and "
        f"n = {sweeps.length}: what cannot run in parallel within a sequence can still do so over {BATCH} of them, so "
        "the gain is what one sequence loses by waiting, and by being small."
    )
    narrow = [row for row in _alone(tables["points"], n=sweeps.length) if row["layer"] == RECURRENT.name]
    if narrow:
        step = min(narrow, key=lambda row: row["d"])
        taken, needed = (1e6 * seconds / step["n"] for seconds in (step["seconds"], step["operations"] / peak))
        text += (
            f" At d = {step['d']} one position of the LSTM takes {taken:.2g} µs; its operations would take "
            f"{needed:.2g} µs in a large matrix product."
        )
    return text


def _disagreements(rows: Sequence[Row], points: Sequence[Row]) -> str:
    """Each layer whose time grows otherwise than in Table 1, with its rate, which tells where to look."""
    fitted = [row for row in rows if row["time"] is not None]
    apart = [row for row in fitted if abs(row["time"] - row["exponent"]) > _AGREES]
    same = [f"{row['layer']} in {row['grows']}" for row in fitted if row not in apart]
    slower = [row["seconds"] / row["fastest"] for row in points if row["fastest"]]
    paragraphs = [
        f"Within {_AGREES} of Table 1's exponent: {'; '.join(same) or 'none'}.",
        "\n".join(_disagreement(row) for row in apart),
        "Where a rate rises, larger products may use the machine better, and starting an operation costs less beside "
        "them. Where it falls, matrices may outgrow the caches; softmax, which is not counted, does little but read "
        "and write them."
        if apart
        else "",
        f"Chance: these medians are ×{median(slower):.2f} of the fastest repetition, at worst ×{max(slower):.2f}. What "
        "else the machine did is in these times."
        if slower
        else "",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _disagreement(row: Row) -> str:
    grows, counted = row["grows"], row["counted"]
    text = f"- {row['layer']}: time grows as {grows}^{row['time']:.2f}, not {grows}^{row['exponent']}."
    if abs(counted - row["exponent"]) > _AGREES:
        text += f" Its operations grow as {grows}^{counted:.2f}, for the table leaves the projections out."
    if abs(row["time"] - counted) > _AGREES:
        text += (
            f" Its rate goes from {_number(row['rate from'])} to {_number(row['rate to'])} GFLOP/s between "
            f"{grows} = {row['from']} and {row['to']}."
        )
    if row["layer"] == RECURRENT.name and grows == "d" and row["time"] > counted:
        weights = _number(4 * 8 * row["to"] ** 2 / _MEBIBYTE)
        text += f" Each position reads half of the LSTM's weights anew, of {weights} MiB at d = {row['to']}."
    return text


def _left_out(points: Sequence[Row]) -> str:
    """By layer, with the sizes."""
    missing: dict[str, list[str]] = {}
    for row in points:
        if row["seconds"] is None:
            missing.setdefault(row["layer"], []).append(f"{row['batch']} × {row['n']} × {row['d']}")
    if not missing:
        return "Every planned point was measured."
    lines = [f"- {layer}: {', '.join(sizes)}" for layer, sizes in missing.items()]
    return "\n".join(["Left out, for they would have taken too long (sequences × n × d):", "", *lines])


def _alone(points: Sequence[Row], **at: int) -> list[Row]:
    """What was measured of single sequences at this n or d."""
    found = [row for row in points if row["seconds"] is not None and row["batch"] == 1]
    return [row for row in found if all(row[key] == size for key, size in at.items())]


def _number(value: float | None, show: Callable[[float], str] | None = None) -> str:
    """Three digits, unless it is to be shown otherwise."""
    if value is None:
        return _LEFT_OUT
    return show(value) if show else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _exponent(value: float | None) -> str:
    return _LEFT_OUT if value is None else f"{value:.2f}"


def draw(measured: Sequence[Measured], sweeps: Sweeps) -> dict[str, Figure]:
    """Time, with Table 1's orders as dashed lines through each layer's largest point, and memory."""
    times = by_layer(measured)
    figures = {}
    for name, unit, value in (
        ("time", "ms of a training step", lambda row: 1e3 * row.seconds),
        ("memory", "MiB kept for the backward pass", lambda row: row.saved_bytes / _MEBIBYTE),
    ):
        figure = figures[name] = new_figure(11, 4.6)
        for axes, axis in zip(figure.subplots(1, 2), ("n", "d"), strict=True):
            _draw_curves(axes, axis, times, sweeps, value, orders=name == "time")
            label(axes, f"{name} as {axis} grows, {sweeps.held(axis)}", axis, unit)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figures


def _draw_curves(
    axes: Axes, axis: str, times: Times, sweeps: Sweeps, value: Callable[[Measured], float], orders: bool
) -> None:
    for colour, layer in zip(COLOURS, LAYERS, strict=False):
        rows = curve(layer, axis, times, sweeps)
        sizes, values = [getattr(row, axis) for row in rows], [value(row) for row in rows]
        dotted = ":" if layer is FUSED else "-"
        axes.plot(sizes, values, dotted, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=layer.name)
        if orders and rows:
            power = layer.in_n if axis == "n" else layer.in_d
            ideal = [values[-1] * (size / sizes[-1]) ** power for size in sizes]
            axes.plot(sizes, ideal, "--", color=colour, linewidth=0.7, alpha=0.7)
    axes.axvline(sweeps.width if axis == "n" else sweeps.length, color="#7a7a7a", linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
