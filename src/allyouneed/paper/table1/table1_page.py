"""Page and plots of Table 1; all numbers in the text are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results_folder import Row, as_table
from allyouneed.paper.table1.compared_layers import FUSED, LAYERS, NEIGHBOURHOOD, REACH, RECURRENT, SELF_ATTENTION
from allyouneed.paper.table1.layer_cost import MAX_REPETITIONS, LayerMeasurement
from allyouneed.paper.table1.tables import BATCH, GIGA, NARROW, Measurements, Sweeps, by_layer, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables: TypeAlias = Mapping[str, Sequence[Row]]
_TOLERANCE = 0.15  # difference between a fitted exponent and that of Table 1
_MEBIBYTE = 2**20
_MISSING = "–"


def write_page(tables: Tables, sweeps: Sweeps, peak: float, device: str) -> str:
    """Write the page.

    Args:
        tables: Rows by table, see `make_tables`.
        sweeps: The sizes.
        peak: FLOP/s of a large matrix product.
        device: Description of the device, such as "on CUDA".

    Returns:
        The page in Markdown.
    """
    return "\n\n".join(
        [
            "# Table 1, measured",
            f"One layer and one sequence of n vectors of width d, in single precision, {device}. Time is the median "
            f"of at most {MAX_REPETITIONS} training steps, forward and backward, in which the layers alternate. "
            "Exponents are fitted over the larger half of their range, since at small sizes the overhead of each "
            "operation hides the order. *Operations* are those of the layer's matrix products, counted exactly. "
            "*Memory* is kept by the forward pass for the backward pass, without parameters. `points.csv` has every "
            "measurement, on CUDA with the peak memory of a step.",
            "Table 1 counts the two products of attention without its projections, another 8 · n · d² operations of "
            "each layer: both variants are measured. All have one head; with h heads the n × n weights are kept h "
            f"times. The restricted layer computes blocks of {3 * REACH} keys, of which each position attends to "
            f"{NEIGHBOURHOOD}.",
            "## How time and memory grow",
            *(_exponent_table(tables["exponents"], axis, sweeps) for axis in ("n", "d")),
            "![time](time.png)\n\n![memory](memory.png)",
            _on_memory(tables, sweeps),
            "## Crossings of self-attention and recurrence",
            _crossing_table(tables["crossings"]),
            _on_crossings(tables["crossings"], sweeps),
            "## Cost of sequential operations",
            _sequential_table(tables["sequential"]),
            _on_sequence(tables, sweeps, peak),
            "## Deviations from Table 1 and possible explanations",
            _disagreements(tables["exponents"], tables["points"]),
            _skipped(tables["points"]),
        ]
    )


def _exponent_table(rows: Sequence[Row], axis: str, sweeps: Sweeps) -> str:
    return as_table(
        [
            {
                f"{axis} grows, {sweeps.fixed(axis)}": row["layer"],
                "Table 1": row["Table 1"],
                "exponent in Table 1": row["exponent"],
                "of counted operations": _exponent(row["counted"]),
                "of time": _exponent(row["time"]),
                "of memory": _exponent(row["memory"]),
                f"fitted over {axis}": f"{row['from']} to {row['to']}" if row["time"] is not None else _MISSING,
            }
            for row in rows
            if row["grows"] == axis
        ]
    )


def _on_memory(tables: Tables, sweeps: Sweeps) -> str:
    """Report memory, for which Table 1 has no column."""
    saved = {
        (row["layer"], row["n"]): row["saved_bytes"] for row in _single_sequences(tables["points"], "d", sweeps.width)
    }
    n = max((n for layer, n in saved if layer == SELF_ATTENTION.name), default=0)
    layers = "; ".join(
        f"{layer.name}: {_number(saved[layer.name, n] / _MEBIBYTE)} MiB" for layer in LAYERS if (layer.name, n) in saved
    )
    [fused] = [row for row in tables["exponents"] if row["layer"] == FUSED.name and row["grows"] == "n"]
    return (
        f"Table 1 has no column for memory. Memory kept at n = {n}, d = {sweeps.width}: {layers}. The n × n weights "
        f"alone are {_number(4 * n * n / _MEBIBYTE)} MiB. The fused kernel recomputes them in the backward "
        f"pass instead of keeping them: its memory grows as n^{_exponent(fused['memory'])}."
    )


def _crossing_table(rows: Sequence[Row]) -> str:
    return as_table(
        [
            {
                "attention relative to LSTM": row["attention"],
                "": f"{row['grows']} grows, {row['fixed']}",
                "by Table 1": f"{row['grows']} = {row['by Table 1']}",
                "by operations": _crossing_text(row, "by operations"),
                "by time": _crossing_text(row, "by time"),
                "time relative to LSTM": _relative_time(row),
            }
            for row in rows
        ]
    )


def _crossing_text(row: Row, by: str) -> str:
    return "none in range" if row[by] is None else f"{row['grows']} = {row[by]:,.0f}"


def _relative_time(row: Row) -> str:
    if row["from"] is None:
        return _MISSING
    return f"×{row['times LSTM at from']:.2g} at {row['from']}, ×{row['times LSTM at to']:.2g} at {row['to']}"


def _on_crossings(rows: Sequence[Row], sweeps: Sweeps) -> str:
    [plain] = [row for row in rows if row["attention"] == SELF_ATTENTION.name and row["grows"] == "n"]
    counted, timed = plain["by operations"], plain["by time"]
    measured = (
        f"is at n = {timed / sweeps.width:.2g} · d by measured time"
        if timed is not None
        else f"is not between n = {plain['from']} and {plain['to']} by measured time"
    )
    return (
        "By Table 1 the crossing is at n = d, where n² · d equals n · d²; asymptotic complexity omits constant "
        "factors, and the projections are not counted. An LSTM has four gates with two matrices each, 16 · n · d² "
        f"operations against 4 · n² · d, and so needs more operations up to n = {counted / sweeps.width:.2g} · d. At "
        f"d = {sweeps.width} the crossing {measured}. The difference is due to the rates in the next table, and "
        "to softmax and gates, "
        "which are not counted."
    )


def _sequential_table(rows: Sequence[Row]) -> str:
    return as_table(
        [
            {
                "layer": row["layer"],
                "sequential operations": row["sequential operations"],
                "longest path": row["longest path"],
                "at n": row["longest n"],
                "GFLOP/s at that n": _number(row["GFLOP/s there"]),
                "relative to a matrix product": _number(row["of peak"], lambda share: f"{share:.0%}"),
                "GFLOP/s, 1 sequence": _number(row["GFLOP/s alone"]),
                f"{BATCH} sequences": _number(row["GFLOP/s together"]),
                "gain": _number(row["gain"], lambda gain: f"×{gain:.2f}"),
            }
            for row in rows
        ]
    )


def _on_sequence(tables: Tables, sweeps: Sweeps, peak: float) -> str:
    """Explain the gain of a batch: sequential operations can be parallel only over sequences (section 1)."""
    text = (
        f"A large matrix product runs at {peak / GIGA:,.0f} GFLOP/s. The last columns are at d = {NARROW} and "
        f"n = {sweeps.length}. Operations that are sequential within a sequence can be parallel over {BATCH} of "
        "them, so the gain shows how much one sequence loses by waiting and by small operations."
    )
    recurrent = [
        row for row in _single_sequences(tables["points"], "n", sweeps.length) if row["layer"] == RECURRENT.name
    ]
    if recurrent:
        step = min(recurrent, key=lambda row: row["d"])
        measured, ideal = (1e6 * seconds / step["n"] for seconds in (step["seconds"], step["operations"] / peak))
        text += (
            f" At d = {step['d']} one position of the LSTM takes {measured:.2g} µs; its operations would take "
            f"{ideal:.2g} µs in a large matrix product."
        )
    return text


def _disagreements(rows: Sequence[Row], points: Sequence[Row]) -> str:
    """List layers whose time grows with a different exponent than in Table 1, with their rates."""
    fitted = [row for row in rows if row["time"] is not None]
    different = [row for row in fitted if abs(row["time"] - row["exponent"]) > _TOLERANCE]
    same = [f"{row['layer']} in {row['grows']}" for row in fitted if row not in different]
    relative_times = [row["seconds"] / row["fastest"] for row in points if row["fastest"]]
    paragraphs = [
        f"Within {_TOLERANCE} of Table 1's exponent: {'; '.join(same) or 'none'}.",
        "\n".join(_disagreement(row) for row in different),
        "A rising rate may mean that larger products use the machine better and that the overhead of each operation "
        "matters less. A falling rate may mean that matrices exceed the caches; softmax, which is not counted, mostly "
        "reads and writes memory."
        if different
        else "",
        f"Noise: the medians are ×{median(relative_times):.2f} of the fastest repetition, at most "
        f"×{max(relative_times):.2f}. Other load on the machine is included in the times."
        if relative_times
        else "",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _disagreement(row: Row) -> str:
    axis, counted = row["grows"], row["counted"]
    text = f"- {row['layer']}: time grows as {axis}^{row['time']:.2f}, not {axis}^{row['exponent']}."
    if abs(counted - row["exponent"]) > _TOLERANCE:
        text += f" Its operations grow as {axis}^{counted:.2f}, since the table does not count the projections."
    if abs(row["time"] - counted) > _TOLERANCE:
        text += (
            f" Its rate changes from {_number(row['rate from'])} to {_number(row['rate to'])} GFLOP/s between "
            f"{axis} = {row['from']} and {row['to']}."
        )
    if row["layer"] == RECURRENT.name and axis == "d" and row["time"] > counted:
        weights = _number(4 * 8 * row["to"] ** 2 / _MEBIBYTE)
        text += f" Each position reads half of the LSTM's weights again: {weights} MiB in all at d = {row['to']}."
    return text


def _skipped(points: Sequence[Row]) -> str:
    """List skipped sizes by layer."""
    skipped: dict[str, list[str]] = {}
    for row in points:
        if row["seconds"] is None:
            skipped.setdefault(row["layer"], []).append(f"{row['batch']} × {row['n']} × {row['d']}")
    if not skipped:
        return "Every planned size was measured."
    lines = [f"- {layer}: {', '.join(sizes)}" for layer, sizes in skipped.items()]
    return "\n".join(["Skipped for lack of time (sequences × n × d):", "", *lines])


def _single_sequences(points: Sequence[Row], axis: str, value: int) -> list[Row]:
    """Select measurements of single sequences with this n or d."""
    return [row for row in points if row["seconds"] is not None and row["batch"] == 1 and row[axis] == value]


def _number(value: float | None, show: Callable[[float], str] | None = None) -> str:
    """Format a value with `show`, or with three significant digits."""
    if value is None:
        return _MISSING
    return show(value) if show else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _exponent(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.2f}"


def draw(measured: Sequence[LayerMeasurement], sweeps: Sweeps) -> dict[str, Figure]:
    """Plot time and memory over n and d.

    Args:
        measured: Measurements of all layers and sizes.
        sweeps: The sizes.

    Returns:
        Figures by name. Dashed lines in the plot of time are Table 1's orders, through each layer's largest size.
    """
    times = by_layer(measured)
    figures = {}
    for name, unit, value in (
        ("time", "ms per training step", lambda row: 1e3 * row.seconds),
        ("memory", "MiB kept for the backward pass", lambda row: row.saved_bytes / _MEBIBYTE),
    ):
        figure = figures[name] = new_figure(11, 4.6)
        for axes, axis in zip(figure.subplots(1, 2), ("n", "d"), strict=True):
            _draw_curves(axes, axis, times, sweeps, value, orders=name == "time")
            label(axes, f"{name} as {axis} grows, {sweeps.fixed(axis)}", axis, unit)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figures


def _draw_curves(
    axes: Axes, axis: str, times: Measurements, sweeps: Sweeps, value: Callable[[LayerMeasurement], float], orders: bool
) -> None:
    for colour, layer in zip(COLOURS, LAYERS, strict=False):
        rows = curve(layer, axis, times, sweeps)
        sizes, values = [getattr(row, axis) for row in rows], [value(row) for row in rows]
        line_style = ":" if layer is FUSED else "-"
        axes.plot(sizes, values, line_style, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=layer.name)
        if orders and rows:
            power = layer.in_n if axis == "n" else layer.in_d
            ideal = [values[-1] * (size / sizes[-1]) ** power for size in sizes]
            axes.plot(sizes, ideal, "--", color=colour, linewidth=0.7, alpha=0.7)
    axes.axvline(sweeps.width if axis == "n" else sweeps.length, color="#7a7a7a", linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
