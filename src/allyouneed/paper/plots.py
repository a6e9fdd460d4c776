"""Plots in a common style, drawn without pyplot, which keeps figures in a global variable."""

from __future__ import annotations

from allyouneed.errors import UserError

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise UserError("plots need matplotlib: pip install 'allyouneed[paper]'.") from error

COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8a5fbf", "#c77d1e", "#3aa6a6", "#7a7a7a", "#b03a8c")


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure.

    Args:
        width: Width in inches.
        height: Height in inches.

    Returns:
        The figure.
    """
    return Figure(figsize=(width, height), layout="constrained")


def new_plot(title: str, x_label: str, y_label: str, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """Create a figure with one pair of axes.

    Args:
        title: Title of the plot.
        x_label: Quantity and unit of the horizontal axis.
        y_label: Quantity and unit of the vertical axis.
        width: Width in inches.
        height: Height in inches.

    Returns:
        The figure and its axes.
    """
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    label(axes, title, x_label, y_label)
    return figure, axes


def label(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Set the title and axis labels, and draw a faint grid.

    Args:
        axes: The axes to label.
        title: Title of the plot.
        x_label: Quantity and unit of the horizontal axis.
        y_label: Quantity and unit of the vertical axis.
    """
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
