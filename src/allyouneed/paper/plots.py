"""Plots, all alike. Drawn without pyplot, which keeps figures in a global."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8a5fbf", "#c77d1e", "#3aa6a6", "#7a7a7a", "#b03a8c")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Errors: `UserError` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("plots need matplotlib: pip install 'allyouneed[paper]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def new_plot(title: str, across: str, up: str, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes, labelled. Errors: as `new_figure`."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    label(axes, title, across, up)
    return figure, axes


def label(axes: Axes, title: str, across: str, up: str) -> None:
    """Title, names of both axes with their units, and a faint grid."""
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
