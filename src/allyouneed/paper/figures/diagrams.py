"""Figures 1 and 2 of a model: blocks in the order in which they ran, with shapes and parameters.

The figures show a recorded forward pass, not the settings. All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor, nn

from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.transformer import Transformer
from allyouneed.paper.figures.drawing import FAINT, INK, Canvas, Position, fonts_for
from allyouneed.paper.figures.trace import ForwardTrace, ModuleCall, shape

# Colours of the paper.
_PINK, _ORANGE, _BLUE, _YELLOW, _LAVENDER, _GREEN = "#fbdfe0", "#fde2bb", "#c4e7f7", "#f2f4c1", "#dcdff2", "#cde6d0"
_PURPLE, _FRAME = "#e6d9ef", "#f4f4f5"
_WIDE, _TALL, _FLAT = 2.35, 0.5, 0.28  # width of a box, its height with and without details
_ENCODER, _DECODER, _MEMORY = 2.75, 6.5, 4.62  # x of both columns and of the line between them
_AROUND, _PRONG = 0.24, 0.62  # distance of residual lines from a box, and of values and queries from keys

_ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "gelu_tanh": "GELU (tanh)", "gelu_sigmoid": "GELU (sigmoid)"}
_ATTENTIONS = {
    "encoder.layers.0.self_attention": "encoder self-attention",
    "decoder.layers.0.self_attention": "decoder self-attention",
    "decoder.layers.0.cross_attention": "encoder-decoder attention",
}


def draw_architecture(model: Transformer, traced: ForwardTrace, texts: tuple[str, str]) -> Figure:
    """Draw figure 1.

    Args:
        model: The model.
        traced: A forward pass of the model.
        texts: Short versions of the source and target text.

    Returns:
        The figure.
    """
    calls = traced.calls
    is_pre_norm = calls["encoder.layers.0.residuals.0"].module.norm_first
    canvas = Canvas(_ENCODER + _DECODER, 12)
    canvas.text(
        (_ENCODER + _DECODER) / 2,
        0.16,
        f"{model.num_parameters():,} parameters · {'pre' if is_pre_norm else 'post'}-norm · shapes are [sentences, "
        "tokens, width] of the pair above",
        7.5,
        FAINT,
    )
    tied = model.output.weight is model.source_embedding.tokens.weight
    _draw_embedding(canvas, calls["source_embedding"], _ENCODER, -1, "Input", texts[0], "Inputs")
    _draw_embedding(canvas, calls["target_embedding"], _DECODER, 1, "Output", texts[1], "Outputs (shifted right)")
    if tied:
        canvas.line((_ENCODER + _WIDE / 2, 1.45), (_DECODER - _WIDE / 2, 1.45), ls=(0, (3, 2)), color=FAINT)
        canvas.text(_MEMORY, 1.54, "shared matrix", 7, FAINT)
    memory = _draw_stack(canvas, calls, "encoder", _ENCODER, -1)
    canvas.line((_ENCODER, memory), (_ENCODER, memory + 0.2), (_MEMORY, memory + 0.2))
    canvas.text(_ENCODER + 0.08, memory + 0.3, shape(calls["encoder"].output), 7, FAINT, ha="left")
    y = _draw_stack(canvas, calls, "decoder", _DECODER, 1, memory + 0.2)
    width, vocab_size = model.output.weight.shape[::-1]
    details = f"{width:,} → {vocab_size:,}{', shared with the embeddings' if tied else ''}"
    for title, colour, text in (("Linear", _LAVENDER, details), ("Softmax", _GREEN, "")):
        height = _TALL if text else 0.34
        canvas.arrow((_DECODER, y), (_DECODER, y + 0.24))
        canvas.box(_DECODER, y + 0.24 + height / 2, _WIDE, height, colour, title, text)
        y += 0.24 + height
    canvas.arrow((_DECODER, y), (_DECODER, y + 0.28))
    canvas.text(_DECODER, y + 0.4, "Output probabilities", 9.5)
    canvas.text(_DECODER + 0.08, y + 0.12, shape(calls["output"].output), 7, FAINT, ha="left")
    canvas.crop(y + 0.55)
    return canvas.figure


def draw_attention_blocks(traced: ForwardTrace) -> Figure:
    """Draw figure 2 for the encoder's first layer, and list what the masks hide.

    Args:
        traced: A forward pass of the model.

    Returns:
        The figure.
    """
    canvas = Canvas(8.6, 5.9)
    call = traced.calls["encoder.layers.0.self_attention"]
    _draw_dot_product(canvas, call.module, traced.weights, 1.75)
    _draw_multi_head(canvas, call, 6.0)
    canvas.line((0.3, 0.95), (8.3, 0.95), color="#bbbbbb", lw=0.6)
    canvas.text(0.35, 0.47, "Mask (opt.)", 9.5, ha="left")
    for row, (name, title) in enumerate(_ATTENTIONS.items()):
        mask = traced.calls[name].inputs[2]
        hidden = f"{int((~mask).sum())} of {mask.numel()} here"
        cells = (title, f"hides {'the future' if _hides_future(mask) else 'padding'}", shape(mask), hidden)
        for x, cell in zip((1.6, 3.8, 5.2, 6.6), cells, strict=True):
            canvas.text(x, 0.7 - 0.23 * row, cell, 8, FAINT if x > 5 else INK, ha="left")
    return canvas.figure


def _draw_dot_product(canvas: Canvas, attention: MultiHeadAttention, weights: Tensor, x: float) -> None:
    """Draw the left of figure 2; weights are [batch, heads, query, key]."""
    batch, heads, queries, keys = weights.shape
    d_k, d_v = attention.key.out_features // heads, attention.value.out_features // heads
    canvas.text(x + 0.15, 5.6, "Scaled dot-product attention", 10.5)
    blocks = (
        ("MatMul", _PURPLE, "Q Kᵀ"),
        ("Scale", _ORANGE, f"divided by √{d_k} = {math.sqrt(d_k):.2f}"),
        ("Mask (opt.)", _PINK, "hidden scores: minus infinity"),
        ("SoftMax", _GREEN, "each row sums to 1"),
        ("MatMul", _PURPLE, "weights · V"),
    )
    for i, (title, colour, details) in enumerate(blocks):
        y = 2.1 + 0.68 * i
        canvas.box(x, y, 1.75, 0.44, colour, title, details)
        if i:
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


def _draw_multi_head(canvas: Canvas, call: ModuleCall, x: float) -> None:
    """Draw the right of figure 2; boxes in the background represent the other heads."""
    attention, heads = call.module, call.module.num_heads
    batch, length, d_model = call.inputs[0].shape
    canvas.text(x, 5.6, "Multi-head attention", 10.5)
    for letter, projection, offset in (
        ("V", attention.value, -1.5),
        ("K", attention.key, 0),
        ("Q", attention.query, 1.5),
    ):
        size = projection.out_features // heads
        canvas.text(x + offset, 1.4, letter, 10)
        canvas.text(x + offset, 1.2, f"[{batch}, {length}, {d_model}]", 7, FAINT)
        canvas.arrow((x + offset, 1.52), (x + offset, 1.88))
        _draw_copies(
            canvas, (x + offset, 2.1), (1.2, 0.44), heads, _LAVENDER, "Linear", f"{heads} × ({d_model:,} → {size})"
        )
        canvas.arrow((x + offset, 2.32), (x + offset, 2.96))
        canvas.text(x + offset + 0.08, 2.74, f"[{batch}, {heads}, {length}, {size}]", 7, FAINT, ha="left")
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


def _draw_copies(
    canvas: Canvas, position: Position, size: Position, heads: int, colour: str, title: str, details: str
) -> None:
    """Draw a box with at most two boxes of other heads behind it."""
    for behind in reversed(range(1, min(heads, 3))):
        canvas.box(position[0] + 0.07 * behind, position[1] + 0.07 * behind, *size, colour)
    canvas.box(*position, *size, colour, title, details)


def _draw_embedding(canvas: Canvas, call: ModuleCall, x: float, side: int, title: str, text: str, name: str) -> None:
    """Draw tokens, their embedding, and the sum with positional encodings, up to the height 2.4."""
    vocab_size, width = call.module.tokens.weight.shape
    canvas.text(x, 0.66, name, 9.5)
    canvas.text(x, 0.46, text, 7.5, FAINT, family=fonts_for(text), parse_math=False)
    canvas.arrow((x, 0.8), (x, 1.2))
    canvas.text(x + 0.08, 0.97, shape(call.inputs[0]), 7, FAINT, ha="left")
    factor = f", times √{width:,} = {call.module.scale:.2f}" if call.module.scale != 1 else ""
    details = f"{vocab_size:,} × {width:,}{factor}"
    canvas.box(x, 1.45, _WIDE, _TALL, _PINK, f"{title} Embedding", details)
    canvas.arrow((x, 1.7), (x, 1.88))
    _draw_plus(canvas, x, 1.98)
    circle = x + side * 1.2
    canvas.arrow((circle - side * 0.17, 1.98), (x + side * 0.1, 1.98))
    canvas.circle(circle, 1.98, 0.17)
    learned = call.module.max_positions
    wave = [math.copysign(0.6, 4.5 - i % 10) if learned else math.sin(i / 20 * math.tau) for i in range(21)]
    canvas.line(*((circle + 0.014 * (i - 10), 1.98 + 0.09 * up) for i, up in enumerate(wave)), zorder=3)
    kind = f"learned,\n{learned:,} × {width:,}" if learned else "sines and\ncosines"
    canvas.text(circle + side * 0.24, 1.98, f"Positional\nEncoding:\n{kind}", 7.5, ha="right" if side < 0 else "left")
    canvas.line((x, 2.08), (x, 2.4))
    normed = ", after a layer norm" if isinstance(call.module.norm, nn.LayerNorm) else ""
    canvas.text(x + 0.08, 2.21, shape(call.output) + normed, 7, FAINT, ha="left")


def _draw_stack(
    canvas: Canvas, calls: dict[str, ModuleCall], stack: str, x: float, side: int, memory: float | None = None
) -> float:
    """Draw the first layer of a stack in a frame, and the final norm if there is one; return the height of the end.

    Residual lines are on the left for side -1, else on the right; `memory` is the height of the encoder's output.
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
    near, far = _WIDE / 2 + 0.14, _WIDE / 2 + _AROUND + 0.14
    canvas.frame(x - (far if side < 0 else near), 2.3, near + far, y - 2.32, _FRAME)
    layers = calls[stack].module.layers
    label = x + side * (far + 0.36)
    canvas.text(label, (y + 2.2) / 2 + 0.2, f"{len(layers)} ×", 15)
    size = sum(parameter.numel() for parameter in layers[0].parameters())
    canvas.text(label, (y + 2.2) / 2 - 0.12, f"{size:,}\nparameters\neach", 7, FAINT)
    if isinstance(calls[stack].module.norm, nn.LayerNorm):
        canvas.arrow((x, y), (x, y + 0.15))
        canvas.box(x, y + 0.15 + _FLAT / 2, _WIDE, _FLAT, _YELLOW, "Norm")
        y += 0.15 + _FLAT
    return y


def _draw_sublayer(
    canvas: Canvas, calls: Sequence[ModuleCall], x: float, y: float, side: int, memory: float | None
) -> float:
    """Draw a block and its norm in execution order, with the residual line; return the height of the end."""
    norm_first, bottom = isinstance(calls[0].module, nn.LayerNorm), y
    if norm_first:
        canvas.arrow((x, y), (x, y + 0.2))
        canvas.box(x, y + 0.2 + _FLAT / 2, _WIDE, _FLAT, _YELLOW, "Norm")
        y += 0.2 + _FLAT
    y = _draw_block(canvas, calls[1] if norm_first else calls[0], x, y, memory)
    canvas.arrow((x, y), (x, y + 0.13))
    sum_y = y + 0.13 + (0.1 if norm_first else _FLAT / 2)
    outside, edge = x + side * (_WIDE / 2 + _AROUND), x + side * (0.1 if norm_first else _WIDE / 2)
    canvas.arrow((x, bottom), (outside, bottom), (outside, sum_y), (edge, sum_y))
    if norm_first:
        _draw_plus(canvas, x, sum_y)
    else:
        canvas.box(x, sum_y, _WIDE, _FLAT, _YELLOW, "Add & Norm")
    top = sum_y + sum_y - y - 0.13
    canvas.line((x, top), (x, top + 0.3))
    canvas.text(x + 0.08, top + 0.14, shape(calls[-1].output), 7, FAINT, ha="left")
    return top + 0.3


def _draw_block(canvas: Canvas, call: ModuleCall, x: float, y: float, memory: float | None) -> float:
    """Draw attention or a feed-forward network; return the height of its top."""
    if isinstance(call.module, MultiHeadAttention):
        title, details = _attention_text(call)
        y = _draw_attention_inputs(canvas, x, y, None if call.inputs[0] is call.inputs[1] else memory)
        canvas.box(x, y + _TALL / 2, _WIDE, _TALL, _ORANGE, title, details)
        return y + _TALL
    inner, activation = call.module.inner, _ACTIVATIONS.get(call.module.activation, call.module.activation)
    sizes = f"{inner.in_features:,} → {inner.out_features:,} → {call.module.outer.out_features:,}"
    canvas.arrow((x, y), (x, y + 0.22))
    canvas.box(x, y + 0.22 + _TALL / 2, _WIDE, _TALL, _BLUE, "Feed Forward", f"{sizes}, {activation} between")
    return y + 0.22 + _TALL


def _attention_text(call: ModuleCall) -> tuple[str, str]:
    """Return the title and sizes of a multi-head attention."""
    attention, mask = call.module, call.inputs[2]
    heads = attention.num_heads
    d_k, d_v = attention.key.out_features // heads, attention.value.out_features // heads
    masked = "Masked " if _hides_future(mask) else ""
    return f"{masked}Multi-Head Attention", f"{heads} heads, $d_k$ = {d_k}, $d_v$ = {d_v}"


def _hides_future(mask: Tensor) -> bool:
    """Return whether the mask depends on the query; a padding mask does not."""
    return mask.shape[-2] > 1


def _draw_attention_inputs(canvas: Canvas, x: float, y: float, memory: float | None) -> float:
    """Draw arrows for values, keys and queries, and return the height of the attention's box.

    `memory` is the height of the encoder's output if keys and values come from there.
    """
    query_y, key_y, box_y = (y + 0.14, y + 0.14, y + 0.4) if memory is None else (y + 0.12, y + 0.26, y + 0.5)
    if memory is not None:
        canvas.line((_MEMORY, memory), (_MEMORY, key_y), (x, key_y))
    canvas.arrow((x, y), (x, query_y), (x + _PRONG, query_y), (x + _PRONG, box_y))
    canvas.arrow((x, key_y), (x - _PRONG, key_y), (x - _PRONG, box_y))
    canvas.arrow((x, key_y), (x, box_y))
    for letter, letter_x in (("V", x - _PRONG), ("K", x), ("Q", x + _PRONG)):
        canvas.text(letter_x + 0.06, box_y - 0.11, letter, 6.5, FAINT, ha="left")
    return box_y


def _draw_plus(canvas: Canvas, x: float, y: float) -> None:
    canvas.circle(x, y, 0.1)
    canvas.line((x - 0.1, y), (x + 0.1, y), zorder=3)
    canvas.line((x, y - 0.1), (x, y + 0.1), zorder=3)
