"""Figures 1 and 2, drawn from a live model: its blocks in the order in which they ran, their shapes and parameters.

Nothing is read off the settings: hooks watch one sentence pair pass through. All measures are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.drawing import FAINT, INK, Canvas, Point, fonts_for
from allyouneed.paper.figures.trace import Call, Trace, shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The paper's colours.
_PINK, _ORANGE, _BLUE, _YELLOW, _LAVENDER, _GREEN = "#fbdfe0", "#fde2bb", "#c4e7f7", "#f2f4c1", "#dcdff2", "#cde6d0"
_PURPLE, _FRAME = "#e6d9ef", "#f4f4f5"
_WIDE, _TALL, _FLAT = 2.35, 0.5, 0.28  # of a box: its width, its height with and without facts
_ENCODER, _DECODER, _MEMORY = 2.75, 6.5, 4.62  # where the columns and the line between them stand
_AROUND, _PRONG = 0.24, 0.62  # residual lines from a box, keys and values from queries


def draw_architecture(model: Transformer, traced: Trace, texts: tuple[str, str]) -> Figure:
    """Figure 1. texts: what stands for inputs and outputs, short."""
    calls = traced.calls
    pre = calls["encoder.layers.0.residuals.0"].module.norm_first
    canvas = Canvas(_ENCODER + _DECODER, 12)
    canvas.text(
        (_ENCODER + _DECODER) / 2,
        0.16,
        f"{model.num_parameters():,} parameters · {'pre' if pre else 'post'}-norm · shapes are [sentences, subwords, "
        "width] of the pair above",
        7.5,
        FAINT,
    )
    tied = model.output.weight is model.source_embedding.tokens.weight
    _draw_embedding(canvas, calls["source_embedding"], _ENCODER, -1, "Input", texts[0], "Inputs")
    _draw_embedding(canvas, calls["target_embedding"], _DECODER, 1, "Output", texts[1], "Outputs (shifted right)")
    if tied:
        canvas.line((_ENCODER + _WIDE / 2, 1.45), (_DECODER - _WIDE / 2, 1.45), ls=(0, (3, 2)), color=FAINT)
        canvas.text(_MEMORY, 1.54, "one matrix", 7, FAINT)
    memory = _draw_stack(canvas, calls, "encoder", _ENCODER, -1)
    canvas.line((_ENCODER, memory), (_ENCODER, memory + 0.2), (_MEMORY, memory + 0.2))
    canvas.text(_ENCODER + 0.08, memory + 0.3, shape(calls["encoder"].output), 7, FAINT, ha="left")
    y = _draw_stack(canvas, calls, "decoder", _DECODER, 1, memory + 0.2)
    width, vocabulary = model.output.weight.shape[::-1]
    facts = f"{width:,} → {vocabulary:,}{', the embeddings’ matrix' if tied else ''}"
    for title, colour, below in (("Linear", _LAVENDER, facts), ("Softmax", _GREEN, "")):
        high = _TALL if below else 0.34
        canvas.arrow((_DECODER, y), (_DECODER, y + 0.24))
        canvas.box(_DECODER, y + 0.24 + high / 2, _WIDE, high, colour, title, below)
        y += 0.24 + high
    canvas.arrow((_DECODER, y), (_DECODER, y + 0.28))
    canvas.text(_DECODER, y + 0.4, "Output probabilities", 9.5)
    canvas.text(_DECODER + 0.08, y + 0.12, shape(calls["output"].output), 7, FAINT, ha="left")
    canvas.cut(y + 0.55)
    return canvas.figure


def draw_attention_blocks(traced: Trace) -> Figure:
    """Figure 2: scaled dot-product attention and multi-head attention, of the encoder's first layer; the masks."""
    canvas = Canvas(8.6, 5.9)
    call = traced.calls["encoder.layers.0.self_attention"]
    _draw_dot_product(canvas, call.module, traced.weights, 1.75)
    _draw_multi_head(canvas, call, 6.0)
    canvas.line((0.3, 0.95), (8.3, 0.95), color="#bbbbbb", lw=0.6)
    canvas.text(0.35, 0.47, "Mask (opt.)", 9.5, ha="left")
    for place, stack in enumerate(("encoder.layers.0.self", "decoder.layers.0.self", "decoder.layers.0.cross")):
        mask = traced.calls[f"{stack}_attention"].inputs[2]
        name = {"encoder.layers.0.self": "encoder self-attention", "decoder.layers.0.self": "decoder self-attention"}
        what = "the future" if _hides_future(mask) else "padding"
        hidden = f"{int((~mask).sum())} of {mask.numel()} here"
        cells = (name.get(stack, "encoder-decoder attention"), f"hides {what}", shape(mask), hidden)
        for across, cell in zip((1.6, 3.8, 5.2, 6.6), cells, strict=True):
            canvas.text(across, 0.7 - 0.23 * place, cell, 8, FAINT if across > 5 else INK, ha="left")
    return canvas.figure


def _draw_dot_product(canvas: Canvas, attention: MultiHeadAttention, weights: Tensor, x: float) -> None:
    """Left of figure 2. weights [batch, heads, query, key]."""
    batch, heads, queries, keys = weights.shape
    d_k, d_v = attention.key.out_features // heads, attention.value.out_features // heads
    canvas.text(x + 0.15, 5.6, "Scaled dot-product attention", 10.5)
    blocks = (
        ("MatMul", _PURPLE, "Q Kᵀ"),
        ("Scale", _ORANGE, f"divided by √{d_k} = {math.sqrt(d_k):.2f}"),
        ("Mask (opt.)", _PINK, "hidden: minus infinity"),
        ("SoftMax", _GREEN, "each row sums to 1"),
        ("MatMul", _PURPLE, "weights times V"),
    )
    for place, (title, colour, facts) in enumerate(blocks):
        y = 2.1 + 0.68 * place
        canvas.box(x, y, 1.75, 0.44, colour, title, facts)
        if place:
            canvas.arrow((x, y - 0.46), (x, y - 0.22))
            canvas.text(x - 0.08, y - 0.34, f"[{batch}, {heads}, {queries}, {keys}]", 7, FAINT, ha="right")
    values = (x + 1.1, 1.52), (x + 1.1, 4.48), (x + 0.6, 4.48), (x + 0.6, 4.6)
    for letter, size, path in (
        ("Q", (queries, d_k), ((x - 0.6, 1.52), (x - 0.6, 1.88))),
        ("K", (keys, d_k), ((x + 0.25, 1.52), (x + 0.25, 1.88))),
        ("V", (keys, d_v), values),
    ):
        canvas.arrow(*path)
        canvas.text(path[0][0], 1.4, letter, 10)
        canvas.text(path[0][0], 1.2, f"[{batch}, {heads}, {size[0]}, {size[1]}]", 7, FAINT)
    canvas.arrow((x, 5.04), (x, 5.32))
    canvas.text(x + 0.08, 5.18, f"[{batch}, {heads}, {queries}, {d_v}]", 7, FAINT, ha="left")


def _draw_multi_head(canvas: Canvas, call: Call, x: float) -> None:
    """Right of figure 2. Boxes behind a box are the other heads'."""
    attention, heads = call.module, call.module.num_heads
    batch, length, d_model = call.inputs[0].shape
    canvas.text(x, 5.6, "Multi-head attention", 10.5)
    for letter, projection, across in (
        ("V", attention.value, -1.5),
        ("K", attention.key, 0),
        ("Q", attention.query, 1.5),
    ):
        size = projection.out_features // heads
        canvas.text(x + across, 1.4, letter, 10)
        canvas.text(x + across, 1.2, f"[{batch}, {length}, {d_model}]", 7, FAINT)
        canvas.arrow((x + across, 1.52), (x + across, 1.88))
        _draw_copies(
            canvas, (x + across, 2.1), (1.2, 0.44), heads, _LAVENDER, "Linear", f"{heads} × ({d_model:,} → {size})"
        )
        canvas.arrow((x + across, 2.32), (x + across, 2.96))
        canvas.text(x + across + 0.08, 2.74, f"[{batch}, {heads}, {length}, {size}]", 7, FAINT, ha="left")
    _draw_copies(
        canvas, (x, 3.18), (4.2, 0.44), heads, _PURPLE, "Scaled dot-product attention", f"h = {heads} in parallel"
    )
    canvas.arrow((x, 3.4), (x, 3.88))
    joined = attention.output.in_features
    canvas.text(x + 0.08, 3.72, f"[{batch}, {heads}, {length}, {joined // heads}]", 7, FAINT, ha="left")
    canvas.box(x, 4.1, 1.75, 0.44, _YELLOW, "Concat", f"{heads} × {joined // heads} = {joined:,}")
    canvas.arrow((x, 4.32), (x, 4.6))
    canvas.text(x + 0.08, 4.44, f"[{batch}, {length}, {joined}]", 7, FAINT, ha="left")
    canvas.box(x, 4.82, 1.75, 0.44, _LAVENDER, "Linear", f"{joined:,} → {attention.output.out_features:,}")
    canvas.arrow((x, 5.04), (x, 5.32))
    canvas.text(x + 0.08, 5.18, shape(call.output), 7, FAINT, ha="left")


def _draw_copies(canvas: Canvas, place: Point, size: Point, heads: int, colour: str, title: str, facts: str) -> None:
    """A box, and behind it those of the other heads, of which at most two show."""
    for behind in reversed(range(1, min(heads, 3))):
        canvas.box(place[0] + 0.07 * behind, place[1] + 0.07 * behind, *size, colour)
    canvas.box(*place, *size, colour, title, facts)


def _draw_embedding(canvas: Canvas, call: Call, x: float, side: int, title: str, text: str, name: str) -> None:
    """Tokens, their embedding, and the sum with their positions. Ends at the height 2.2."""
    vocabulary, width = call.module.tokens.weight.shape
    canvas.text(x, 0.66, name, 9.5)
    canvas.text(x, 0.46, text, 7.5, FAINT, family=fonts_for(text), parse_math=False)
    canvas.arrow((x, 0.8), (x, 1.2))
    canvas.text(x + 0.08, 0.97, shape(call.inputs[0]), 7, FAINT, ha="left")
    facts = f"{vocabulary:,} × {width:,}, times √{width:,} = {call.module.scale:.2f}"
    canvas.box(x, 1.45, _WIDE, _TALL, _PINK, f"{title} Embedding", facts)
    canvas.arrow((x, 1.7), (x, 1.88))
    _draw_plus(canvas, x, 1.98)
    aside = x + side * 1.2
    canvas.arrow((aside - side * 0.17, 1.98), (x + side * 0.1, 1.98))
    canvas.circle(aside, 1.98, 0.17)
    learned = call.module.max_positions
    wave = [math.copysign(0.6, 4.5 - i % 10) if learned else math.sin(i / 20 * math.tau) for i in range(21)]
    canvas.line(*((aside + 0.014 * (i - 10), 1.98 + 0.09 * up) for i, up in enumerate(wave)), zorder=3)
    kind = f"learned,\n{learned:,} × {width:,}" if learned else "sines and\ncosines"
    canvas.text(aside + side * 0.24, 1.98, f"Positional\nEncoding:\n{kind}", 7.5, ha="right" if side < 0 else "left")
    canvas.line((x, 2.08), (x, 2.4))
    canvas.text(x + 0.08, 2.21, shape(call.output), 7, FAINT, ha="left")


def _draw_stack(
    canvas: Canvas, calls: dict[str, Call], stack: str, x: float, side: int, memory: float | None = None
) -> float:
    """A layer in its frame, how many there are, and the norm after them, if any. -> the height where it ends.

    side: where residual lines go, -1 is left; memory: the height from where the encoder's output comes.
    """
    prefix = f"{stack}.layers.0."
    inner = [
        call
        for name, call in calls.items()
        if name.startswith(prefix) and isinstance(call.module, MultiHeadAttention | FeedForward | nn.LayerNorm)
    ]
    y = 2.4
    for first, second in zip(inner[::2], inner[1::2], strict=True):
        y = _draw_sublayer(canvas, (first, second), x, y, side, memory)
    from matplotlib.patches import FancyBboxPatch

    near, far = _WIDE / 2 + 0.14, _WIDE / 2 + _AROUND + 0.14
    left = x - (far if side < 0 else near)
    style = "round,pad=0,rounding_size=0.12"
    canvas.axes.add_patch(
        FancyBboxPatch((left, 2.3), near + far, y - 2.32, style, fc=_FRAME, ec="#9a9a9a", lw=0.9, zorder=0)
    )
    layers = calls[stack].module.layers
    beside = x + side * (far + 0.36)
    canvas.text(beside, (y + 2.2) / 2 + 0.2, f"{len(layers)} ×", 15)
    size = sum(parameter.numel() for parameter in layers[0].parameters())
    canvas.text(beside, (y + 2.2) / 2 - 0.12, f"{size:,}\nparameters\neach", 7, FAINT)
    if isinstance(calls[stack].module.norm, nn.LayerNorm):
        canvas.arrow((x, y), (x, y + 0.15))
        canvas.box(x, y + 0.15 + _FLAT / 2, _WIDE, _FLAT, _YELLOW, "Norm")
        y += 0.15 + _FLAT
    return y


def _draw_sublayer(canvas: Canvas, pair: Sequence[Call], x: float, y: float, side: int, memory: float | None) -> float:
    """Attention or feed-forward and its norm, in the order in which they ran, and the line around them."""
    norm_first, bottom = isinstance(pair[0].module, nn.LayerNorm), y
    block = pair[1] if norm_first else pair[0]
    if norm_first:
        canvas.arrow((x, y), (x, y + 0.2))
        canvas.box(x, y + 0.2 + _FLAT / 2, _WIDE, _FLAT, _YELLOW, "Norm")
        y += 0.2 + _FLAT
    if isinstance(block.module, MultiHeadAttention):
        title, facts = _attention_facts(block)
        y = _draw_prongs(canvas, x, y, None if block.inputs[0] is block.inputs[1] else memory)
        canvas.box(x, y + _TALL / 2, _WIDE, _TALL, _ORANGE, title, facts)
        y += _TALL
    else:
        inner, between = block.module.inner, "swish" if block.module.swish else "ReLU"
        facts = f"{inner.in_features:,} → {inner.out_features:,} → {block.module.outer.out_features:,}"
        facts += f", {between} between"
        canvas.arrow((x, y), (x, y + 0.22))
        canvas.box(x, y + 0.22 + _TALL / 2, _WIDE, _TALL, _BLUE, "Feed Forward", facts)
        y += 0.22 + _TALL
    canvas.arrow((x, y), (x, y + 0.13))
    joins = y + 0.13 + (0.1 if norm_first else _FLAT / 2)
    away, edge = x + side * (_WIDE / 2 + _AROUND), x + side * (0.1 if norm_first else _WIDE / 2)
    canvas.arrow((x, bottom), (away, bottom), (away, joins), (edge, joins))
    if norm_first:
        _draw_plus(canvas, x, joins)
    else:
        canvas.box(x, joins, _WIDE, _FLAT, _YELLOW, "Add & Norm")
    top = joins + joins - y - 0.13
    canvas.line((x, top), (x, top + 0.3))
    canvas.text(x + 0.08, top + 0.14, shape(pair[-1].output), 7, FAINT, ha="left")
    return top + 0.3


def _attention_facts(call: Call) -> tuple[str, str]:
    """The title of a multi-head attention, and its sizes."""
    attention, mask = call.module, call.inputs[2]
    heads = attention.num_heads
    d_k, d_v = attention.key.out_features // heads, attention.value.out_features // heads
    masked = "Masked " if _hides_future(mask) else ""
    return f"{masked}Multi-Head Attention", f"{heads} heads, $d_k$ = {d_k}, $d_v$ = {d_v}"


def _hides_future(mask: Tensor) -> bool:
    """A mask on padding is the same for all queries."""
    return mask.shape[-2] > 1


def _draw_prongs(canvas: Canvas, x: float, y: float, memory: float | None) -> float:
    """Values, keys and queries into an attention, of which the height is returned.

    memory: the height from where keys and values come, if they come from the encoder.
    """
    queries, keys, box = (y + 0.14, y + 0.14, y + 0.4) if memory is None else (y + 0.12, y + 0.26, y + 0.5)
    if memory is not None:
        canvas.line((_MEMORY, memory), (_MEMORY, keys), (x, keys))
    canvas.arrow((x, y), (x, queries), (x + _PRONG, queries), (x + _PRONG, box))
    canvas.arrow((x, keys), (x - _PRONG, keys), (x - _PRONG, box))
    canvas.arrow((x, keys), (x, box))
    for letter, across in (("V", x - _PRONG), ("K", x), ("Q", x + _PRONG)):
        canvas.text(across + 0.06, box - 0.11, letter, 6.5, FAINT, ha="left")
    return box


def _draw_plus(canvas: Canvas, x: float, y: float) -> None:
    canvas.circle(x, y, 0.1)
    canvas.line((x - 0.1, y), (x + 0.1, y), zorder=3)
    canvas.line((x, y - 0.1), (x, y + 0.1), zorder=3)
