"""Page of the two questions: answers with the measurements."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results_folder import Results, Row, as_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = (
    "paper",
    "unscaled",
    "two_heads",
    "two_heads_unscaled",
    "one_head",
    "one_head_unscaled",
    "one_head_overscaled",
)
MASKS = ("paper", "padding", "future")
PARTS = ("paper", "positions", "two_heads", "one_head")
TRAININGS = tuple(dict.fromkeys((*SCALES, *MASKS, *PARTS)))


def write_page(results: Results) -> Path:
    """Write the page with its tables and plots.

    Args:
        results: Results with the parts "scale", "masks", "facts" and one per training.

    Returns:
        The path of the page.
    """
    parts = results.parts
    scale, masks = parts["scale"]["rows"], parts["masks"]["rows"]
    tables = {
        "scale": scale,
        "masks": masks,
        "trainings": trained_table(parts, TRAININGS),
        "scale_trainings": scale_table(parts, SCALES),
        "padding": padding_table(parts),
        "curves": _curves(parts),
    }
    plots = {
        "scale": _scale_plot(scale),
        "curves": _curve_plot(parts, (*MASKS, "positions")),
        "curves_scale": _curve_plot(parts, SCALES),
    }
    sections = [_scale_section(parts), _mask_section(parts), _other_section(parts)]
    page = "\n\n".join(["# Two questions about the paper", *sections])
    return results.finish(page, tables, plots)


def softmax_table(rows: Sequence[Row]) -> list[Row]:
    """Format the variance of the dot products and the sharpness of their softmax.

    Args:
        rows: Rows of `scale_by_width`.

    Returns:
        A row per d_k.
    """
    keys = rows[0]["keys"]
    return [
        {
            "d_k": row["d_k"],
            "variance of q·k": f"{row['variance']:,.{0 if row['variance'] > 99 else 1}f}",
            **{
                f"entropy, {title}": f"{row[f'entropy, {scale}']:.2f} ({row[f'entropy, {scale}'] / math.log(keys):.0%})"
                for scale, title in (("none", "unscaled"), ("√d_k", "÷ √d_k"), ("d_k", "÷ d_k"))
            },
            "largest weight, unscaled": f"{row['largest, none']:.2f}",
            "largest weight, ÷ √d_k": f"{row['largest, √d_k']:.2f}",
        }
        for row in rows
    ]


def gradient_table(rows: Sequence[Row]) -> list[Row]:
    """Format the gradient of the softmax with respect to the scores.

    Args:
        rows: Rows of `scale_by_width`.

    Returns:
        A row per d_k.
    """
    return [
        {
            "d_k": row["d_k"],
            "‖∂p/∂s‖, unscaled": f"{row['gradient, none']:.3f}",
            "‖∂p/∂s‖, ÷ √d_k": f"{row['gradient, √d_k']:.3f}",
            "median p(1 - p), unscaled": f"{row['slope, none']:.1e}",
            "median p(1 - p), ÷ √d_k": f"{row['slope, √d_k']:.1e}",
            "queries with vanishing gradient, unscaled": f"{row['saturated, none']:.0%}",
            "queries with vanishing gradient, ÷ √d_k": f"{row['saturated, √d_k']:.0%}",
        }
        for row in rows
    ]


def trained_table(parts: dict[str, Any], names: Sequence[str]) -> list[Row]:
    """Format losses in nats per token and BLEU of greedy decoding.

    Args:
        parts: Parts of the results.
        names: Names of the trainings.

    Returns:
        A row per training.
    """
    return [
        {
            "training": parts[name]["title"],
            "training loss": f"{parts[name]['training'][-1][1]:.2f}",
            "validation loss, teacher forcing": f"{parts[name]['loss']:.2f}",
            "validation loss with the paper's masks": f"{parts[name]['masked']:.2f}",
            "BLEU, greedy": f"{parts[name]['bleu']:.1f}",
        }
        for name in names
    ]


def scale_table(parts: dict[str, Any], names: Sequence[str]) -> list[Row]:
    """Format the attention at the start, its gradient, and the result of trainings with different scales.

    Args:
        parts: Parts of the results.
        names: Names of the trainings.

    Returns:
        A row per training.
    """
    return [
        {
            "training": parts[name]["title"],
            "heads": parts[name]["model"]["heads"],
            "d_k": parts[name]["model"]["d_k"],
            "entropy at the start": f"{mean_entropy(first):.2f}",
            "saturated at the start": f"{math.fsum(first['saturated'].values()) / len(first['saturated']):.1%}",
            "gradient of W^Q at the start": f"{projection_gradient(first):.3f}",
            "at the end": f"{projection_gradient(last):.3f}",
            "validation loss": f"{parts[name]['loss']:.2f}",
            "BLEU, greedy": f"{parts[name]['bleu']:.1f}",
        }
        for name in names
        for first, last in [(parts[name]["observed"][0], parts[name]["observed"][-1])]
    ]


def mean_entropy(point: dict[str, Any]) -> float:
    """Average the entropy over all heads of a point of `observations.observe`, in nats."""
    heads = [entropy for layers in point["entropy"].values() for layer in layers for entropy in layer]
    return math.fsum(heads) / len(heads)


def projection_gradient(point: dict[str, Any], name: str = "query") -> float:
    """Return the norm of the gradient for all W^Q ("query") or W^K ("key") of a point of `observations.observe`."""
    return math.hypot(*(norm for kind in point["projections"].values() for norm in kind[name]))


def padding_table(parts: dict[str, Any]) -> list[Row]:
    """Format the effect of padding on the models with and without the padding mask.

    Args:
        parts: Parts of the results.

    Returns:
        A row per amount of padding.
    """
    return [
        {
            "padding after the source": hidden["padding"],
            "loss, hidden": f"{hidden['loss']:.4f}",
            "predictions changed, hidden": f"{hidden['changed']:.1%}",
            "loss, not hidden": f"{seen['loss']:.4f}",
            "predictions changed, not hidden": f"{seen['changed']:.1%}",
        }
        for hidden, seen in zip(parts["paper"]["padding"], parts["padding"]["padding"], strict=True)
    ]


def mask_table(rows: Sequence[Row]) -> list[Row]:
    """Format what each attention hides: keys whose weight is exactly 0.

    Args:
        rows: Rows of `what_is_hidden`.

    Returns:
        A row per attention.
    """

    def verdict(weight: float) -> str:
        return "hidden" if weight == 0 else f"visible (largest weight {weight:.2f})"

    return [
        {
            "attention": row["attention"],
            "padding": verdict(row["on padding"]),
            "later positions": verdict(row["on later positions"]),
        }
        for row in rows
    ]


def _scale_section(parts: dict[str, Any]) -> str:
    rows = parts["scale"]["rows"]
    wide, keys = rows[-1], rows[0]["keys"]
    return f"""## Why divide by √d_k (section 3.2.1)?
The dot product of two vectors of d_k independent components with variance 1 has variance d_k: measured at
d_k = {wide["d_k"]}, {wide["variance"]:,.0f}. With such large scores the softmax selects one key: of {keys} keys the
largest weight is {wide["largest, none"]:.2f} on average, and {wide["saturated, none"]:.0%} of the queries have a
vanishing gradient (norm below 0.001). Divided by √d_k, the scores have variance 1 for every d_k, and entropy and
gradient hardly depend on d_k. Divided by d_k, a common misreading, the scores shrink as d_k grows and the weights
become uniform.

{as_table(softmax_table(rows))}

Entropy in nats, and as a share of ln {keys} = {math.log(keys):.2f}, the entropy of uniform weights.

{as_table(gradient_table(rows))}

‖∂p/∂s‖ is the mean norm of diag(p) - p pᵀ. It increases at first, since moderately sharp weights are most sensitive to
their scores. The derivative of a typical weight with respect to its own score, p(1 - p), vanishes first; the table has
its median.

![Entropy and gradient of the softmax](scale.png)

Models of several d_k, trained for {parts["paper"]["steps"]:,} steps on the same batches:

{as_table(scale_table(parts, SCALES))}

Entropy in nats, mean over all heads. Saturated: queries whose softmax has a Jacobian of norm below 0.001. Gradient:
norm of the gradient of the training loss for all W^Q together, in the model as it was trained, measured on
{parts["facts"]["measured_pairs"]} validation pairs. Without the division, the chain rule has no factor 1/√d_k, so this
gradient can be larger although the softmax is sharper. One seed.

![Losses with and without the division](curves_scale.png)"""


def _mask_section(parts: dict[str, Any]) -> str:
    future, paper = parts["future"], parts["paper"]
    return f"""## What is "mask (opt.)" (figure 2, section 3.2.3)?
It is optional because the same attention is used in three places that do not hide the same keys. In the trained model:

{as_table(mask_table(parts["masks"]["rows"]))}

Padding is hidden everywhere, the future only in the decoder's self-attention, whose inputs are the tokens to predict.
Padding of the target needs no separate mask: it follows all tokens, so the future mask hides it.

{as_table(trained_table(parts, MASKS))}

Losses are negative log-likelihoods in nats per token; BLEU is {paper["signature"]}.

**Future visible:** the decoder's inputs contain the token to predict, which can be copied. The final training loss is
{future["training"][-1][1]:.2f} (with the paper's masks: {paper["training"][-1][1]:.2f}), the validation loss with
teacher forcing {future["loss"]:.2f} ({paper["loss"]:.2f}). During decoding there is no future to copy from:
{future["bleu"]:.1f} BLEU ({paper["bleu"]:.1f}). An implausibly low loss is the sign of this mistake.

**Padding visible:** the result for a sentence depends on the length of the other sentences in its batch:

{as_table(padding_table(parts))}

![Losses without a mask or positions](curves.png)"""


def _other_section(parts: dict[str, Any]) -> str:
    facts = parts["facts"]
    model = facts["model"]
    return f"""## Positions and heads
Without positional encoding, the encoder cannot distinguish orders of the source; the decoder's future mask still
carries order. With fewer heads, each head is wider, and the number of parameters is the same.

{as_table(trained_table(parts, PARTS))}

All trainings: {model["layers"][0]} + {model["layers"][1]} layers, d_model {model["d_model"]}, d_ff {model["d_ff"]},
{model["parameters"]:,} parameters, vocabulary of {model["vocabulary"]:,} tokens, {parts["paper"]["steps"]:,} steps of
{facts["batch_tokens"]:,} tokens, seed {facts["seed"]}. Entropy, gradients and translations over training are in
`ablations.json`, which `allyouneed look RUN SENTENCE --html PAGE --twins FOLDER` shows."""


def _curves(parts: dict[str, Any]) -> list[Row]:
    return [
        {"training": parts[name]["title"], "of": kind, "step": step, "loss": loss}
        for name in TRAININGS
        for kind in ("training", "validation")
        for step, loss in parts[name][kind]
    ]


def _scale_plot(rows: Sequence[Row]) -> Figure:
    figure = new_figure(12.0, 3.8)
    panels = figure.subplots(1, 3)
    widths = [row["d_k"] for row in rows]
    titles = {"none": "unscaled", "√d_k": "divided by √d_k", "d_k": "divided by d_k"}
    for axes, quantity, title, y_label in zip(
        panels,
        ("entropy", "gradient", "slope"),
        (f"Entropy of the softmax over {rows[0]['keys']} keys", "Gradient norm ‖∂p/∂s‖", "Median of p(1 - p)"),
        ("nats", "mean over queries", "median over weights"),
        strict=True,
    ):
        label(axes, title, "d_k", y_label)
        for (scale, name), colour in zip(titles.items(), COLOURS, strict=False):
            axes.plot(widths, [row[f"{quantity}, {scale}"] for row in rows], "o-", ms=4, color=colour, label=name)
        axes.set_xscale("log", base=2)
    panels[2].set_yscale("log")
    panels[0].legend(frameon=False)
    return figure


def _curve_plot(parts: dict[str, Any], names: Sequence[str]) -> Figure:
    figure = new_figure(10.0, 4.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("training", "validation"), strict=True):
        label(axes, f"Loss, {kind}", "step", "nats per token")
        for name, colour in zip(names, itertools.cycle(COLOURS), strict=False):
            axes.plot(*zip(*parts[name][kind], strict=True), marker=".", color=colour, label=parts[name]["title"])
    panels[0].legend(frameon=False)
    return figure
