"""Drawings in inches: the canvas that the diagrams are made on, and attention in the style of figures 3 to 5.

Attention: words left and right, from the word on the left to those on the right; a line's opacity is its weight, its
colour the head (Vaswani et al., 2017, with tensor2tensor's words left and right).
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allyouneed.paper.plots import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
INK, FAINT = "#222222", "#6d6d6d"
_FONT = "DejaVu Sans"  # comes with matplotlib
_ROW, _GAP, _CELL, _BETWEEN = 0.235, 1.5, 0.14, 0.35
_LETTER = 0.083  # of the words' size, on average


class Canvas:
    """An empty sheet whose coordinates are inches, from the bottom left. Text is in points."""

    def __init__(self, width: float, height: float):
        self.figure: Figure = new_figure(width, height)
        self.figure.set_layout_engine("none")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def cut(self, height: float) -> None:
        """Leaves the sheet so high, from its bottom."""
        self.figure.set_figheight(height)
        self.axes.set_ylim(0, height)

    def text(self, x: float, y: float, text: str, size: float = 8.5, colour: str = INK, **style: Any) -> None:
        """Centred, unless `ha` or `va` says otherwise; `style` is matplotlib's."""
        looks: dict[str, Any] = {"size": size, "color": colour, "ha": "center", "va": "center", **style}
        self.axes.text(x, y, text, **looks)

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, text: str = "", facts: str = ""
    ) -> None:
        """A rounded box around the point, a title in it and, smaller, facts below the title."""
        from matplotlib.patches import FancyBboxPatch

        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.06"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, style, fc=colour, ec=INK, lw=1.0, zorder=2))
        up = 0.09 if facts else 0
        self.text(x, y + up - 0.01, text, 9.5)
        if facts:
            self.text(x, y - 0.1, facts, 7, FAINT)

    def circle(self, x: float, y: float, radius: float) -> None:
        """A white one around the point."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, fc="white", ec=INK, lw=1.0, zorder=2))

    def line(self, *points: Point, **style: Any) -> None:
        """From point to point; `style` is matplotlib's."""
        across, up = zip(*points, strict=True)
        looks: dict[str, Any] = {"color": INK, "lw": 1.0, "solid_joinstyle": "round", "zorder": 1, **style}
        self.axes.plot(across, up, **looks)

    def arrow(self, *points: Point) -> None:
        """A line whose last piece ends in a head."""
        if len(points) > 2:
            self.line(*points[:-1])
        shape = {"arrowstyle": "-|>", "color": INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        self.axes.annotate("", xy=points[-1], xytext=points[-2], arrowprops=shape, zorder=1)


class Panel(NamedTuple):
    """One picture. heads: each head's number and weights [query, key], words and `</s>`; only_from: lines from this
    word only, and then every head's weights as cells too."""

    title: str
    heads: Mapping[int, np.ndarray]
    colours: Sequence[str]
    only_from: int | None = None


def head_colours(count: int) -> list[str]:
    """A colour a head."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    shades = (colorsys.hls_to_rgb(i / count, 0.42, 0.65) for i in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


def draw_attention(words: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """Panels of one sentence side by side. The weights' queries and keys are the words, all of them."""
    column = max(map(_width, words)) + 0.1
    cells = [0.08 + _CELL * len(panel.heads) if panel.only_from is not None else 0 for panel in panels]
    widths = [2 * column + _GAP + wide for wide in cells]
    canvas = Canvas(sum(widths) + _BETWEEN * (len(panels) - 1), _ROW * len(words) + 0.55)
    left = column
    for panel, width, wide in zip(panels, widths, cells, strict=True):
        _draw_panel(canvas, words, panel, left, left + _GAP + wide)
        left += width + _BETWEEN
    families = fonts_for("".join(words))
    for text in canvas.axes.texts:
        text.set_fontfamily(families)
        text.set_parse_math(False)  # a word may have $ in it
    return canvas.figure


def fonts_for(text: str) -> list[str]:
    """Matplotlib's own font and, if that lacks any letter of the text, the first of the system's that has it."""
    from matplotlib import font_manager

    families = [_FONT]
    missing = {ord(letter) for letter in text} - _letters_of(font_manager.findfont(_FONT))
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.weight != 400, font.name)):
        if not missing:
            break
        found = set() if font.name.startswith("Last Resort") else missing & _letters_of(font.fname)
        families += [font.name] if found else []
        missing -= found
    return families


def _letters_of(font_file: str) -> set[int]:
    from matplotlib import font_manager

    return set(font_manager.get_font(font_file).get_charmap())


def _draw_panel(canvas: Canvas, words: Sequence[str], panel: Panel, left: float, right: float) -> None:
    """left, right: where the words on the left end and those on the right begin, in inches."""
    top, chosen = _ROW * len(words), panel.only_from
    heights = [top - _ROW * (place + 0.5) for place in range(len(words))]
    canvas.text((left + right) / 2, top + 0.4, panel.title, 9.5)
    for place, (word, height) in enumerate(zip(words, heights, strict=True)):
        weight, colour = ("bold" if chosen == place else "normal"), (INK if chosen in (None, place) else FAINT)
        canvas.text(left - 0.05, height, word, 9, colour, ha="right", weight=weight)
        canvas.text(right + 0.05, height, word, 9, ha="left")
    for place, (head, colour) in enumerate(zip(panel.heads, panel.colours, strict=True)):
        _draw_lines(canvas.axes, panel.heads[head], colour, heights, (left, left + _GAP), chosen)
        if chosen is not None:
            across = left + _GAP + 0.04 + _CELL * place
            canvas.text(across + _CELL / 2, top + 0.08, str(head), 6, colour, weight="bold")
            for key, height in enumerate(heights):
                _draw_cell(canvas.axes, (across, height - _ROW * 0.4), colour, float(panel.heads[head][chosen, key]))
    if chosen is not None:
        canvas.text(left + _GAP, top + 0.08, "head", 6, FAINT, ha="right")


def _draw_lines(
    axes: Axes, weights: np.ndarray, colour: str, heights: Sequence[float], ends: Point, only_from: int | None
) -> None:
    """All lines of a head at once; opacity is the weight."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    queries = range(len(weights)) if only_from is None else [only_from]
    pairs = [(query, key) for query in queries for key in range(weights.shape[1])]
    lines = [[(ends[0], heights[query]), (ends[1], heights[key])] for query, key in pairs]
    shades = [to_rgba(colour, min(1.0, float(weights[pair]))) for pair in pairs]
    axes.add_collection(LineCollection(lines, colors=shades, linewidths=1.6, capstyle="round"), autolim=False)


def _draw_cell(axes: Axes, corner: Point, colour: str, weight: float) -> None:
    """A head's weight for a word, as a filled cell beside it."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, _CELL, _ROW * 0.8, fc=(colour, min(1.0, weight)), ec="#dddddd", lw=0.4))


def _width(word: str) -> float:
    """Of a word in inches, about; Chinese, Japanese and Korean letters are twice as wide."""
    return _LETTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in word) + 0.05
