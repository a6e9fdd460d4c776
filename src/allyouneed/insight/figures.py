"""Static pictures of attention and of the other results, for notebooks and papers; drawn by matplotlib.

The explorer shows the same, and more, interactively; a static picture is also visible where scripts are not run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allyouneed.errors import UserError
from allyouneed.insight.attribution.attribute import Attribution
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.exploration import Explorer
from allyouneed.insight.hooks import ModuleRecording
from allyouneed.insight.layers.logit_lens import LogitLens
from allyouneed.insight.patching.patch import Patching
from allyouneed.insight.recorder import Recording
from allyouneed.insight.tokens import mark_words
from allyouneed.insight.view import AttentionView

try:
    from matplotlib import font_manager
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
except ImportError as error:
    raise UserError("pictures need matplotlib: pip install 'allyouneed[paper]'.") from error

_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Noto Sans KR",
)
_NAMES = {
    "encoder": "encoder self-attention",
    "decoder": "decoder self-attention",
    "cross": "encoder-decoder attention",
}
_METHODS = {
    "ig": "integrated gradients",
    "attention": "attention",
    "rollout": "attention rollout",
    "alti": "ALTI",
    "loo": "leave one out",
}
_DPI = 100


class Picture:
    """A picture that a notebook displays.

    Attributes:
        figure: The matplotlib figure.
    """

    def __init__(self, figure: Figure):
        self.figure = figure
        installed = {font.name for font in font_manager.fontManager.ttflist}
        families = [name for name in _FONTS if name in installed]
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontfamily(families)
            text.set_parse_math(False)  # $ in a token does not begin a formula

    def png(self) -> bytes:
        """Draw the picture as PNG."""
        content = io.BytesIO()
        self.figure.savefig(content, format="png", dpi=_DPI)
        return content.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture; the format follows from the name: .png, .pdf or .svg.

        Raises:
            UserError: If the file cannot be written, or the format is unknown.
        """
        try:
            self.figure.savefig(path, dpi=2 * _DPI)
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot write the picture {path}: {error}. Give a path that ends in .png, .pdf or .svg."
            ) from error
        return Path(path)

    def _repr_png_(self) -> bytes:
        return self.png()


def draw(result: Drawable) -> Picture:
    """Draw a result by the function for its type, with default settings.

    Args:
        result: `AttentionView` or what has one (`Explorer`, recordings), `LogitLens`, `Attribution` or `Patching`.

    Returns:
        The picture.

    Raises:
        TypeError: If there is no picture of this type.
    """
    if isinstance(result, AttentionView):
        return draw_heads(result, next(kind for kind in ("cross", "encoder", "decoder") if kind in result.arrays))
    if isinstance(result, LogitLens):
        return draw_lens(result)
    if isinstance(result, Attribution):
        return draw_attribution(result)
    if isinstance(result, Patching):
        return draw_patching(result)
    if isinstance(result, Explorer | Recording | ModuleRecording):
        return draw(result.view())
    raise TypeError(f"there is no picture of {type(result).__name__}")


def draw_heads(attention: AttentionView, kind: str, layer: int | None = None, head: int | None = None) -> Picture:
    """Draw attention weights: rows are queries, columns are keys, darker is a larger weight.

    Args:
        attention: The weights.
        kind: "encoder", "decoder" or "cross".
        layer: Layer, from 0; None for all layers.
        head: Head of this layer, from 0; None for all heads.

    Returns:
        Small pictures of all heads, or one large picture with tokens.

    Raises:
        UserError: If there is no such kind, layer or head.
    """
    weights = _chosen(attention, kind, layer, head)
    if layer is not None and head is not None:
        queries = attention.target_tokens if kind != "encoder" else attention.source_tokens
        keys = attention.target_tokens if kind == "decoder" else attention.source_tokens
        figure = _figure(2 + 0.42 * len(keys), 1.6 + 0.32 * len(queries))
        _matrix(figure.add_subplot(), weights[layer, head], _shown(queries), _shown(keys), "Blues", 0, 1)
        figure.suptitle(f"{_NAMES[kind]}, layer {layer + 1}, head {head + 1}", fontsize=10)
        return Picture(figure)
    layers = range(len(weights)) if layer is None else [layer]
    heads = weights.shape[1]
    figure = _figure(max(4.5, 1.05 * heads), 0.5 + 1.05 * len(layers))
    all_axes = figure.subplots(len(layers), heads, squeeze=False)
    for row, number in zip(all_axes, layers, strict=True):
        for column, axes in enumerate(row):
            axes.imshow(weights[number, column], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"layer {number + 1}, head {column + 1}", fontsize=6)
    figure.suptitle(f"{_NAMES[kind]}: rows are queries, columns are keys", fontsize=9)
    return Picture(figure)


def _chosen(attention: AttentionView, kind: str, layer: int | None, head: int | None) -> np.ndarray:
    """Return the weights of a kind that has the layer and the head."""
    weights = attention.arrays.get(kind)
    if weights is None:
        raise UserError(f"there is no attention {kind!r}: choose from {', '.join(attention.arrays)}.")
    if head is not None and layer is None:
        raise UserError("a head needs its layer: give layer= too.")
    for name, number, count in (("layer", layer, weights.shape[0]), ("head", head, weights.shape[1])):
        if number is not None and not 0 <= number < count:
            raise UserError(f"{kind} attention has {count} {name}s, numbered from 0: there is no {name} {number}.")
    return weights


def draw_lens(lens: LogitLens) -> Picture:
    """Draw the most likely next token at each state of the decoder; darker is more probable."""
    rows = ["embedding", *(f"layer {site[1] + 1}, {_state(site[0])}" for site in lens.sites[1:])]
    columns = [f"{own} →" for own in _shown(lens.inputs)]
    figure = _figure(2.4 + 0.8 * len(columns), 1.3 + 0.3 * len(rows))
    axes = figure.add_subplot()
    probability = lens.top_p[..., 0]
    _matrix(axes, probability, rows, columns, "Blues", 0, 1)
    for (row, column), p in np.ndenumerate(probability):
        text = _shown([lens.top[row][column]])[0][:10]
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if p > 0.6 else "black")
    axes.set_title("most likely next token, read from each state of the decoder", fontsize=9)
    return Picture(figure)


def draw_attribution(attribution: Attribution, methods: Sequence[str] = ()) -> Picture:
    """Draw what each token contributes to the preference of one token over another, for each method."""
    methods = methods or list(attribution.values)
    tokens = [*_shown(attribution.source_tokens), *_shown(attribution.prefix_tokens)]
    figure = _figure(0.8 + 1.7 * len(methods), 1.1 + 0.24 * len(tokens))
    for axes, method in zip(figure.subplots(1, len(methods), squeeze=False)[0], methods, strict=True):
        values = attribution.values[method]
        colours = ["#e2711d" if value < 0 else "#4a7ce0" for value in values]
        axes.barh(range(len(values)), values, color=colours)
        axes.axhline(len(attribution.source_tokens) - 0.5, color="grey", linewidth=0.6)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_yticks(range(len(tokens)), tokens if axes.get_subplotspec().is_first_col() else [""] * len(tokens))
        axes.tick_params(labelsize=7)
        axes.invert_yaxis()
        axes.set_title(_METHODS.get(method, method), fontsize=8)
    one, other = _shown([attribution.candidate, attribution.instead_of])
    difference = f"log p difference {attribution.difference:.2f}"
    figure.suptitle(f"Why “{one}” and not “{other}”? ({difference}; source above the line)", fontsize=9)
    return Picture(figure)


def draw_patching(
    patching: Patching, name: str = "encoder stream", target: int = 0, tokens: Sequence[str] = ()
) -> Picture:
    """Draw how far each cell of a map turns the prediction of one sentence into that of the other.

    Args:
        patching: The result of `patch_sentences` or `patch_models`.
        name: Name of the map, see `Patching.maps`.
        target: Index of the examined target position, see `Patching.targets`.
        tokens: Labels of the columns; () for their numbers.

    Returns:
        Layers as rows; positions of the receiving sentence, or heads, as columns. 1: the prediction of the other one.
        Positions without a counterpart are hatched.
    """
    found = patching.maps[name]
    values = found.effect[target]
    columns = list(tokens) or [str(number) for number in range(1, values.shape[1] + 1)]
    rows = [f"layer {number + found.first_layer}" for number in range(len(values))]
    figure = _figure(2.4 + 0.55 * len(columns), 1.6 + 0.3 * len(rows))
    _matrix(figure.add_subplot(), values, rows, _shown(columns), "RdBu", -1, 1)
    figure.suptitle(f"{name}: “{patching.clean.text}” into “{patching.corrupted.text}”", fontsize=8)
    return Picture(figure)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(min(width, 16), min(height, 16)), layout="constrained")


def _matrix(
    axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], colours: str, low: float, high: float
) -> None:
    axes.patch.set(hatch="////", edgecolor="grey")  # behind cells without a value
    axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=45, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    for side in axes.spines.values():
        side.set_visible(False)


def _shown(tokens: Sequence[str]) -> list[str]:
    """Remove the marks of words; a token inside a word begins with a hyphen."""
    marked = mark_words(tokens)
    return [
        token[1:] or "␣" if token.startswith("▁") else token if token[:1] == "<" or number == 0 else f"-{token}"
        for number, token in enumerate(marked)
    ]


def _state(kind: str) -> str:
    return {"decoder": "self-attention", "cross": "encoder-decoder", "decoder feed-forward": "feed-forward"}[kind]
