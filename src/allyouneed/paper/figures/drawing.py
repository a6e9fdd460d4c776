"""A canvas with coordinates in inches, for the diagrams, and attention drawn in the style of figures 3 to 5.

Lines connect words on the left (queries) with words on the right (keys). A line's opacity is its weight, its colour
stands for the head. The paper has the words at the top and bottom; the layout here is tensor2tensor's.
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from allyouneed.paper.plots import COLOURS, new_figure

Position: TypeAlias = tuple[float, float]  # x, y
INK, FAINT = "#222222", "#6d6d6d"
_FONT = "DejaVu Sans"  # comes with matplotlib
_ROW, _GAP, _CELL, _PANEL_GAP = 0.235, 1.5, 0.14, 0.35
_CHARACTER = 0.083  # average width of a character of the words


class Canvas:
    """A figure whose coordinates are inches from the bottom left; text sizes are points.

    Args:
        width: Width in inches.
        height: Height in inches.
    """

    def __init__(self, width: float, height: float):
        self.figure: Figure = new_figure(width, height)
        self.figure.set_layout_engine("none")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def crop(self, height: float) -> None:
        """Cut off everything above `height`."""
        self.figure.set_figheight(height)
        self.axes.set_ylim(0, height)

    def text(self, x: float, y: float, text: str, size: float = 8.5, colour: str = INK, **style: Any) -> None:
        """Draw text, centred unless `ha` or `va` are given; `style` is passed to matplotlib."""
        self.axes.text(x, y, text, **{"size": size, "color": colour, "ha": "center", "va": "center", **style})

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, title: str = "", details: str = ""
    ) -> None:
        """Draw a rounded box centred at the position, with a title and, below it, smaller details."""
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.06"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, style, fc=colour, ec=INK, lw=1.0, zorder=2))
        offset = 0.09 if details else 0
        self.text(x, y + offset - 0.01, title, 9.5)
        if details:
            self.text(x, y - 0.1, details, 7, FAINT)

    def frame(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a rounded frame behind everything else; the position is its bottom left corner."""
        style = "round,pad=0,rounding_size=0.12"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, style, fc=colour, ec="#9a9a9a", lw=0.9, zorder=0))

    def circle(self, x: float, y: float, radius: float) -> None:
        """Draw a white circle centred at the position."""
        self.axes.add_patch(Circle((x, y), radius, fc="white", ec=INK, lw=1.0, zorder=2))

    def line(self, *positions: Position, **style: Any) -> None:
        """Draw a line through the positions; `style` is passed to matplotlib."""
        xs, ys = zip(*positions, strict=True)
        self.axes.plot(xs, ys, **{"color": INK, "lw": 1.0, "solid_joinstyle": "round", "zorder": 1, **style})

    def arrow(self, *positions: Position) -> None:
        """Draw a line through the positions with an arrow head at its end."""
        if len(positions) > 2:
            self.line(*positions[:-1])
        shape = {"arrowstyle": "-|>", "color": INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        self.axes.annotate("", xy=positions[-1], xytext=positions[-2], arrowprops=shape, zorder=1)


class Panel(NamedTuple):
    """One drawing of a sentence's attention.

    Attributes:
        title: Title of the panel.
        heads: Weights by the head's number, shape [query, key] over words and `</s>`.
        colours: A colour per head.
        query: Draw only lines from this word, and every head's weights as cells too; None draws all lines.
    """

    title: str
    heads: Mapping[int, np.ndarray]
    colours: Sequence[str]
    query: int | None = None


def head_colours(count: int) -> list[str]:
    """Choose distinct colours.

    Args:
        count: Number of heads.

    Returns:
        A colour per head.
    """
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    shades = (colorsys.hls_to_rgb(i / count, 0.42, 0.65) for i in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


def draw_attention(words: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """Draw panels of one sentence side by side.

    Args:
        words: Words of the sentence and `</s>`, which are both queries and keys.
        panels: The panels.

    Returns:
        The figure.
    """
    column = max(map(_width, words)) + 0.1
    cell_widths = [0.08 + _CELL * len(panel.heads) if panel.query is not None else 0 for panel in panels]
    widths = [2 * column + _GAP + cells for cells in cell_widths]
    canvas = Canvas(sum(widths) + _PANEL_GAP * (len(panels) - 1), _ROW * len(words) + 0.55)
    left = column
    for panel, width, cells in zip(panels, widths, cell_widths, strict=True):
        _draw_panel(canvas, words, panel, left, left + _GAP + cells)
        left += width + _PANEL_GAP
    families = fonts_for("".join(words))
    for text in canvas.axes.texts:
        text.set_fontfamily(families)
        text.set_parse_math(False)  # words may contain $
    return canvas.figure


def fonts_for(text: str) -> list[str]:
    """Choose fonts that have all characters of a text.

    Args:
        text: The text to draw.

    Returns:
        Matplotlib's default font, followed by system fonts for the characters that it lacks.
    """
    families = [_FONT]
    missing = {ord(character) for character in text} - _characters_of(font_manager.findfont(_FONT))
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.weight != 400, font.name)):
        if not missing:
            break
        found = set() if font.name.startswith("Last Resort") else missing & _characters_of(font.fname)
        families += [font.name] if found else []
        missing -= found
    return families


def _characters_of(font_file: str) -> set[int]:
    return set(font_manager.get_font(font_file).get_charmap())


def _draw_panel(canvas: Canvas, words: Sequence[str], panel: Panel, left: float, right: float) -> None:
    """Draw a panel between the end of the left words and the start of the right words, in inches."""
    top, query = _ROW * len(words), panel.query
    heights = [top - _ROW * (i + 0.5) for i in range(len(words))]
    canvas.text((left + right) / 2, top + 0.4, panel.title, 9.5)
    for i, (word, height) in enumerate(zip(words, heights, strict=True)):
        weight, colour = ("bold" if query == i else "normal"), (INK if query in (None, i) else FAINT)
        canvas.text(left - 0.05, height, word, 9, colour, ha="right", weight=weight)
        canvas.text(right + 0.05, height, word, 9, ha="left")
    for i, (head, colour) in enumerate(zip(panel.heads, panel.colours, strict=True)):
        _draw_lines(canvas.axes, panel.heads[head], colour, heights, (left, left + _GAP), query)
        if query is not None:
            x = left + _GAP + 0.04 + _CELL * i
            canvas.text(x + _CELL / 2, top + 0.08, str(head), 6, colour, weight="bold")
            for key, height in enumerate(heights):
                _draw_cell(canvas.axes, (x, height - _ROW * 0.4), colour, float(panel.heads[head][query, key]))
    if query is not None:
        canvas.text(left + _GAP, top + 0.08, "head", 6, FAINT, ha="right")


def _draw_lines(
    axes: Axes, weights: np.ndarray, colour: str, heights: Sequence[float], xs: Position, only_query: int | None
) -> None:
    """Draw the lines of a head between the two `xs`; opacity is the weight."""
    queries = range(len(weights)) if only_query is None else [only_query]
    pairs = [(query, key) for query in queries for key in range(weights.shape[1])]
    lines = [[(xs[0], heights[query]), (xs[1], heights[key])] for query, key in pairs]
    shades = [to_rgba(colour, min(1.0, float(weights[pair]))) for pair in pairs]
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=1.6, capstyle="round"), autolim=False)


def _draw_cell(axes: Axes, corner: Position, colour: str, weight: float) -> None:
    axes.add_patch(Rectangle(corner, _CELL, _ROW * 0.8, fc=(colour, min(1.0, weight)), ec="#dddddd", lw=0.4))


def _width(word: str) -> float:
    """Estimate the width of a word in inches; Chinese, Japanese and Korean characters are twice as wide."""
    widths = (2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in word)
    return _CHARACTER * sum(widths) + 0.05
