"""The page of `questions.py`: both answers in words, with what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results import Results, Row, as_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAININGS = ("paper", "unscaled", "padding", "future")


def write_page(results: Results) -> Path:
    """Both answers, their tables as CSV, their plots. -> the page."""
    parts = results.parts
    scale, masks = parts["scale"]["rows"], parts["masks"]["rows"]
    tables = {
        "scale": scale,
        "masks": masks,
        "trainings": trained_table(parts, TRAININGS),
        "padding": padding_table(parts),
        "curves": _curves(parts),
    }
    plots = {"scale": _scale_plot(scale), "curves": _curve_plot(parts)}
    page = "\n\n".join(["# Two questions about the paper", _why_scale(parts), _what_mask(parts)])
    return results.finish(page, tables, plots)


def softmax_table(rows: Sequence[Row]) -> list[Row]:
    """Of each d_k: how large the products are, and how sharp the softmax of them is."""
    keys = rows[0]["keys"]
    return [
        {
            "d_k": row["d_k"],
            "variance of q·k": f"{row['variance']:,.{0 if row['variance'] > 99 else 1}f}",
            **{
                f"entropy, {title}": f"{row[f'entropy, {scale}']:.2f} ({row[f'entropy, {scale}'] / math.log(keys):.0%})"
                for scale, title in (("none", "undivided"), ("√d_k", "÷ √d_k"), ("d_k", "÷ d_k"))
            },
            "largest weight, undivided": f"{row['largest, none']:.2f}",
            "largest weight, ÷ √d_k": f"{row['largest, √d_k']:.2f}",
        }
        for row in rows
    ]


def gradient_table(rows: Sequence[Row]) -> list[Row]:
    """Of each d_k: what the softmax lets through to the scores."""
    return [
        {
            "d_k": row["d_k"],
            "‖∂p/∂s‖, undivided": f"{row['gradient, none']:.3f}",
            "‖∂p/∂s‖, ÷ √d_k": f"{row['gradient, √d_k']:.3f}",
            "median p(1 - p), undivided": f"{row['slope, none']:.1e}",
            "median p(1 - p), ÷ √d_k": f"{row['slope, √d_k']:.1e}",
            "queries without gradient, undivided": f"{row['saturated, none']:.0%}",
            "queries without gradient, ÷ √d_k": f"{row['saturated, √d_k']:.0%}",
        }
        for row in rows
    ]


def trained_table(parts: dict[str, Any], names: Sequence[str]) -> list[Row]:
    """Losses in nats a subword, BLEU of greedy decoding."""
    return [
        {
            "training": parts[name]["title"],
            "training loss": f"{parts[name]['training'][-1][1]:.2f}",
            "validation loss, right words given": f"{parts[name]['loss']:.2f}",
            "the same with the paper's masks": f"{parts[name]['masked']:.2f}",
            "BLEU, decoding": f"{parts[name]['bleu']:.1f}",
        }
        for name in names
    ]


def padding_table(parts: dict[str, Any]) -> list[Row]:
    """Of the model that hides padding, and of the one that does not."""
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
    """What is hidden follows from the weights: exactly 0 is what a mask gives."""

    def verdict(weight: float) -> str:
        return "hidden" if weight == 0 else f"seen (largest weight {weight:.2f})"

    return [
        {
            "attention": row["attention"],
            "padding": verdict(row["on padding"]),
            "later positions": verdict(row["on later positions"]),
        }
        for row in rows
    ]


def _why_scale(parts: dict[str, Any]) -> str:
    rows = parts["scale"]["rows"]
    wide, keys = rows[-1], rows[0]["keys"]
    return f"""## Why divide by √d_k (section 3.2.1)?
The product of two vectors of d_k independent components of variance 1 has variance d_k: at d_k = {wide["d_k"]} it was
{wide["variance"]:,.0f}. Scores of such a spread make the softmax pick one key: of {keys} keys the largest weight is
{wide["largest, none"]:.2f} on average, and {wide["saturated, none"]:.0%} of the queries pass no gradient on
(its norm is under 0.001). Divided by √d_k the variance is 1 whatever d_k is, and entropy and gradient hardly depend on
d_k. Divided by d_k itself, as is sometimes read, scores shrink as d_k grows, and the weights become all alike: nothing
is chosen.

{as_table(softmax_table(rows))}

Entropy in nats, and as a share of ln {keys} = {math.log(keys):.2f}, that of equal weights.

{as_table(gradient_table(rows))}

‖∂p/∂s‖: the mean norm of diag(p) - p pᵀ. It first grows, since moderately sharp weights react most to their scores.
What vanishes first is the derivative of a typical weight by its own score, p(1 - p), of which this is the median.

![Entropy and gradient of the softmax](scale.png)

In training, {parts["paper"]["steps"]:,} steps on the same batches from the same first weights:

{as_table(trained_table(parts, ("paper", "unscaled")))}"""


def _what_mask(parts: dict[str, Any]) -> str:
    future, paper = parts["future"], parts["paper"]
    return f"""## What is "mask (opt.)" (figure 2, section 3.2.3)?
Optional: the same attention is used in three places, and they do not hide the same. In the trained model, what words
may look at:

{as_table(mask_table(parts["masks"]["rows"]))}

Padding is hidden everywhere; the future only in the decoder's self-attention, whose words are to be predicted.
Padding of the target needs no mask of its own: it stands in the future of every word.

{as_table(trained_table(parts, ("paper", "padding", "future")))}

Losses are negative log likelihoods in nats a subword; BLEU is {paper["signature"]}.

**The future seen:** the word to be said is among the decoder's inputs, to be copied. The training loss ends at
{future["training"][-1][1]:.2f} (as the paper has it: {paper["training"][-1][1]:.2f}), and the validation loss, with the
right words among the decoder's inputs, at {future["loss"]:.2f} ({paper["loss"]:.2f}). In decoding there is no future
to copy from: {future["bleu"]:.1f} BLEU ({paper["bleu"]:.1f}). A loss too good to be true is the sign of this mistake.

**Padding seen:** a sentence's result then depends on how long its neighbours in the batch are:

{as_table(padding_table(parts))}

![Losses of the four trainings](curves.png)"""


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
    titles = {"none": "undivided", "√d_k": "divided by √d_k", "d_k": "divided by d_k"}
    for axes, quantity, title, up in zip(
        panels,
        ("entropy", "gradient", "slope"),
        (f"Entropy of the softmax over {rows[0]['keys']} keys", "Gradient: norm of ∂p/∂s", "p(1 - p), median"),
        ("nats", "mean over queries", "median over weights"),
        strict=True,
    ):
        label(axes, title, "d_k", up)
        for (scale, name), colour in zip(titles.items(), COLOURS, strict=False):
            axes.plot(widths, [row[f"{quantity}, {scale}"] for row in rows], "o-", ms=4, color=colour, label=name)
        axes.set_xscale("log", base=2)
    panels[2].set_yscale("log")
    panels[0].legend(frameon=False)
    return figure


def _curve_plot(parts: dict[str, Any]) -> Figure:
    figure = new_figure(10.0, 4.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("training", "validation"), strict=True):
        label(axes, f"Loss, {kind}", "step", "nats a subword")
        for name, colour in zip(TRAININGS, COLOURS, strict=False):
            axes.plot(*zip(*parts[name][kind], strict=True), marker=".", color=colour, label=parts[name]["title"])
    panels[0].legend(frameon=False)
    return figure
