"""Attention drawn as lines and cells, and the choice of fonts."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from allyouneed.paper.figures.drawing import Panel, draw_attention, fonts_for, head_colours

WORDS = ["a", "dog", "</s>"]
FIRST = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
SECOND = np.full((3, 3), 1 / 3)


def lines_of(figure) -> list[LineCollection]:
    return [drawn for drawn in figure.axes[0].collections if isinstance(drawn, LineCollection)]


def test_opacity_is_the_weight_and_colour_the_head():
    figure = draw_attention(WORDS, [Panel("both", {1: FIRST, 4: SECOND}, ["#ff0000", "#0000ff"])])
    first, second = lines_of(figure)
    assert len(first.get_segments()) == len(second.get_segments()) == 9
    np.testing.assert_allclose(first.get_colors()[:, 3], FIRST.flatten())
    np.testing.assert_allclose(first.get_colors()[:, :3], [to_rgb("#ff0000")] * 9)
    np.testing.assert_allclose(second.get_colors(), [(*to_rgb("#0000ff"), 1 / 3)] * 9)


def test_lines_connect_left_queries_to_right_keys():
    figure = draw_attention(WORDS, [Panel("", {1: FIRST}, ["#ff0000"])])
    [lines] = lines_of(figure)
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    start, end = lines.get_segments()[1]  # from a to dog
    assert (start[1], end[1]) == (heights["a"], heights["dog"])
    assert start[0] < end[0]


def test_lines_of_one_query_with_cells():
    figure = draw_attention(WORDS, [Panel("from a", {1: FIRST, 2: SECOND}, ["#ff0000", "#0000ff"], query=0)])
    assert [len(lines.get_segments()) for lines in lines_of(figure)] == [3, 3]
    cells = figure.axes[0].patches
    assert [cell.get_facecolor()[3] for cell in cells] == pytest.approx([0.7, 0.2, 0.1, 1 / 3, 1 / 3, 1 / 3])
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert bold == ["a", "1", "2"]


def test_words_are_not_parsed_as_formulas(tmp_path):
    figure = draw_attention(["$x_{", "a$b$", "</s>"], [Panel("", {1: FIRST}, ["#ff0000"])])
    figure.savefig(tmp_path / "figure.png")


def test_panels_are_side_by_side():
    panels = [Panel(name, {1: FIRST}, ["#ff0000"]) for name in ("left", "right")]
    figure = draw_attention(WORDS, panels)
    left, right = (np.array(lines.get_segments())[..., 0] for lines in lines_of(figure))
    assert left.max() < right.min()


def test_head_colours_are_distinct():
    assert len(set(head_colours(8))) == 8
    assert len(set(head_colours(16))) == 16


def test_missing_characters_use_system_fonts():
    assert fonts_for("a dog läuft ▁") == ["DejaVu Sans"]
    assert fonts_for("\U0010fffd") == ["DejaVu Sans"]  # private use: in no font
    assert fonts_for("개")[0] == "DejaVu Sans"
