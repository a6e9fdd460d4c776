"""Plots of the scaling model, as SVG on a white ground, readable in both colour schemes of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from allyouneed.paper.plots import COLOURS, label, new_figure
from benchmarks.measure.scaling_local import METHODS, LinkRow

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def save_svg(figure, path: Path) -> None:
    """Write a figure without a date, so that equal figures are equal files."""
    from matplotlib import rc_context  # only drawing needs matplotlib

    with rc_context({"svg.hashsalt": "allyouneed", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def draw_efficiency(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw efficiency by number of GPUs.

    Args:
        curves: For each panel, efficiencies for `GPUS` by name of the curve.
        path: SVG file.
    """
    figure = new_figure(9.0, 4.4)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (title, lines) in zip(panels, curves.items(), strict=True):
        label(axes, title, "GPUs", "efficiency compared with one GPU, %" if axes is panels[0] else "")
        for index, (name, values) in enumerate(lines.items()):
            style = "--" if index % 2 else "-"
            shown = [100 * value for value in values]
            axes.plot(GPUS[: len(shown)], shown, style, color=COLOURS[index // 2], label=name, marker="o", markersize=3)
        _gpu_axis(axes)
        axes.set_ylim(0, 105)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_svg(figure, path)


def draw_minutes(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw minutes of training by number of GPUs, each with the best batch; see `draw_efficiency` for the arguments."""
    figure = new_figure(9.0, 4.2)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (title, lines) in zip(panels, curves.items(), strict=True):
        label(axes, title, "GPUs", "minutes of training" if axes is panels[0] else "")
        for index, (name, values) in enumerate(lines.items()):
            axes.plot(GPUS[: len(values)], values, color=COLOURS[index], label=name, marker="o", markersize=3)
        _gpu_axis(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", frameon=False, fontsize=9)
    save_svg(figure, path)


def draw_links(rows: Sequence[LinkRow], path: Path) -> None:
    """Draw predicted lines and measured points of the steps of two processes by the link's rate."""
    figure = new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    label(axes, "Two processes on a link: predicted and measured", "link, Mbit/s", "step, ms")
    for colour, method in zip(COLOURS, dict.fromkeys(row.measured.method for row in rows), strict=False):
        found = sorted((row for row in rows if row.measured.method == method), key=lambda row: row.rate)
        rates = [row.rate / 1e6 for row in found]
        axes.plot(
            rates, [1e3 * row.predicted for row in found], "--", color=colour, label=f"{METHODS[method]}, predicted"
        )
        axes.plot(
            rates, [1e3 * row.measured.step for row in found], "o", color=colour, label=f"{METHODS[method]}, measured"
        )
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate:,.0f}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_svg(figure, path)


def _gpu_axis(axes) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(GPUS[::2], [f"{count:,}" for count in GPUS[::2]])
    axes.set_xticks([], minor=True)
