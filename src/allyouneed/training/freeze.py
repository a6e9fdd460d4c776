"""Freezing: parts of the model that keep the weights of the start or the teacher (`training.freeze`).

A frozen parameter has no gradient and no optimizer state. The backward pass ends where nothing below is trained: with
frozen embeddings and a frozen encoder, the encoder is only computed forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from allyouneed.errors import UserError
from allyouneed.model.transformer import Decoder, Encoder, Transformer

_EMBEDDINGS = ("source_embeddings", "target_embeddings")
_PARTS_OF_A_LAYER = {"attention": ("self_attention", "cross_attention")}


def freeze(model: Transformer, parts: Sequence[str]) -> None:
    """Freeze parts of a model.

    Args:
        model: The model, whose frozen parameters no longer require gradients.
        parts: Names as in `training.freeze`.

    Raises:
        UserError: If the model has no such layer or part, or nothing would be trained.
    """
    for part in parts:
        for module in _modules(model, part):
            module.requires_grad_(False)
    if not _requires_gradients(model):
        raise UserError(f"training.freeze = {', '.join(parts)} freezes the whole model. Leave a part to train.")


def describe_frozen(model: Transformer, parts: Sequence[str]) -> list[str]:
    """Describe in sentences what `freeze` has frozen; [] if nothing is."""
    if not parts:
        return []
    count, trained = model.num_parameters(), sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines = [
        f"frozen: {', '.join(parts)}; {trained:,} of {count:,} parameters ({100 * trained / count:.0f} %) are trained"
    ]
    if shared := _also_frozen(model, parts):
        lines.append(f"  also frozen: {shared}, because they are the same matrix (model.tie_embeddings)")
    if not _requires_gradients(model.encoder) and _requires_gradients(model.source_embedding):
        lines.append(
            "  the source embeddings below the frozen encoder are trained, so gradients still pass through it. Freeze "
            "embeddings, too, to save that time"
        )
    return lines


def _modules(model: Transformer, part: str) -> Iterator[nn.Module]:
    """Yield the modules of a part such as `embeddings`, `encoder.1-3` or `decoder.cross_attention`."""
    name, *details = part.split(".")
    if name in ("embeddings", *_EMBEDDINGS):
        yield from (getattr(model, f"{side[:-1]}") for side in _EMBEDDINGS if name in ("embeddings", side))
        return
    module = getattr(model, name)
    if not details:
        yield module
        return
    for layer in _layers(module, part):
        kinds: tuple[str, ...] = () if details[-1][0].isdigit() else _PARTS_OF_A_LAYER.get(details[-1], (details[-1],))
        found = [getattr(layer, kind) for kind in kinds if hasattr(layer, kind)] if kinds else [layer]
        if not found:
            raise UserError(f"training.freeze = {part}: the {name} has no {details[-1]}. Remove it.")
        yield from found


def _layers(stack: Encoder | Decoder, part: str) -> list[nn.Module]:
    """Return the layers that a part such as `encoder.1-3` names, counted from 1; all without a number."""
    name, numbers = part.split(".")[:2]
    layers: list[nn.Module] = list(stack.layers)
    if not numbers[0].isdigit():
        return layers
    first, _, last = numbers.partition("-")
    chosen = range(int(first) - 1, int(last or first))
    if not chosen or chosen[-1] >= len(layers):
        raise UserError(f"training.freeze = {part}: the {name} has the layers 1 to {len(layers)}. Name some of them.")
    return [layers[index] for index in chosen]


def _also_frozen(model: Transformer, parts: Sequence[str]) -> str:
    """Name the vocabulary matrices that are frozen although they are not among the parts."""
    named = {side for side in _EMBEDDINGS if {side, "embeddings"} & set(parts)} | {"output"} & set(parts)
    weights = {
        "source_embeddings": model.source_embedding.tokens.weight,
        "target_embeddings": model.target_embedding.tokens.weight,
        "output": model.output.weight,
    }
    shared = [name for name, weight in weights.items() if name not in named and not weight.requires_grad]
    return " and ".join("the output projection" if name == "output" else f"the {name}" for name in shared).replace(
        "_", " "
    )


def _requires_gradients(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
