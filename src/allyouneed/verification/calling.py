"""Calling conventions of modules: arguments, masks and results.

Dimensions: batch; source, target: positions; vocab: size of the target vocabulary.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from allyouneed.verification.recording import batch_first, slow_attention

Forward = Callable[[nn.Module, Tensor, Tensor], Any]
SOURCE = re.compile(r"^(src|source|enc|x$|input|inp|encoder_input|sources|s$)(?!.*(mask|len))")
TARGET = re.compile(r"^(tgt|trg|target|dec|y$|decoder_input|output|out|t$|labels)(?!.*(mask|len))")
MASK = re.compile(r"mask")

MASKS = {
    "keep": "True where visible, [batch, 1, source] and [batch, target, target]",
    "keep heads": "True where visible, [batch, 1, 1, source] and [batch, 1, target, target]",
    "hide": "True where hidden, [batch, 1, 1, source] and [batch, 1, target, target]",
    "torch": "as for torch.nn.Transformer: True where hidden, [target, target] and [batch, source]",
}


@dataclass(frozen=True)
class Convention:
    """How a module is called.

    Attributes:
        time_first: Whether ids and logits are [length, batch].
        masks: Name of the form of the masks that are passed, or "" if none are.
        swapped: Whether the target is the first argument.
        generator: Path of the module that turns the result into logits, or "".
        staged: Whether the module's `encode` and `decode` are called instead of `forward`.
        custom: The `forward` argument of `verify`, if given.
    """

    time_first: bool = False
    masks: str = ""
    swapped: bool = False
    generator: str = ""
    staged: bool = False
    custom: Forward | None = None

    def describe(self) -> str:
        """Describe the convention in words."""
        if self.custom is not None:
            return "called by the given forward function"
        parts = ["ids [length, batch]" if self.time_first else "ids [batch, length]"]
        if self.swapped:
            parts.append("target first")
        if self.staged:
            parts.append("encode, then decode")
        if self.masks:
            parts.append(f"masks made by verify ({MASKS[self.masks]})")
        if self.generator:
            parts.append(f"logits by {self.generator}")
        return ", ".join(parts)


def call(module: nn.Module, convention: Convention, source: Tensor, target: Tensor, pad_id: int) -> Tensor:
    """Call a module and return its output as [batch, target, vocab]."""
    rows, length = target.shape
    if convention.custom is not None:
        with slow_attention():
            result = convention.custom(module, source, target)
    elif convention.staged:
        with slow_attention():
            result = _staged(module, convention, source, target, pad_id)
    else:
        arguments, named = _arguments(module, convention, source, target, pad_id)
        with slow_attention():
            result = module(*arguments, **named)
    x = _tensor(result)
    if convention.generator:
        x = _tensor(module.get_submodule(convention.generator)(x))
    shaped = batch_first(x, rows, length)
    if shaped is None or shaped.dim() != 3:
        raise ValueError(f"the output has shape {list(x.shape)}, expected [{rows}, {length}, vocab]")
    return shaped


def _tensor(result: Any) -> Tensor:
    """Take the logits from a tensor, a tuple, a dictionary, or an output of transformers."""
    for name in ("logits", "output", "out", "prediction_logits"):
        value = result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
        if isinstance(value, Tensor):
            return value
    if isinstance(result, tuple | list) and result:
        return _tensor(result[0])
    if isinstance(result, Tensor) and result.is_floating_point():
        return result
    raise ValueError(f"the output is a {type(result).__name__}, expected a tensor of logits")


def forward_parameters(module: nn.Module) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]


def _arguments(
    module: nn.Module, convention: Convention, source: Tensor, target: Tensor, pad_id: int
) -> tuple[list[Tensor], dict[str, Any]]:
    """Return positional and named arguments for the module's forward."""
    names = [p.name for p in forward_parameters(module)]
    masks = _masks(convention.masks, source, target, pad_id)
    if convention.time_first:
        source, target = source.T, target.T
    if "decoder_input_ids" in names:  # transformers
        hidden = {"attention_mask": masks["hf source"]} if "attention_mask" in names else {}
        return [], {"input_ids": source, "decoder_input_ids": target, **hidden}
    ids = [target, source] if convention.swapped else [source, target]
    named: dict[str, Any] = {}
    if convention.masks:
        for name in names[2:]:
            mask = _mask_for(name, convention.masks, masks)
            if mask is not None:
                named[name] = mask
    return ids, named


def _staged(module: Any, convention: Convention, source: Tensor, target: Tensor, pad_id: int) -> Any:
    """Call encode and decode; the arguments of decode are chosen by their names."""
    masks = _masks(convention.masks, source, target, pad_id)
    first = list(inspect.signature(module.encode).parameters)
    memory = _tensor(module.encode(source, *([masks["source"]] if convention.masks and len(first) > 1 else [])))
    named: dict[str, Any] = {}
    for name in inspect.signature(module.decode).parameters:
        if MASK.search(name):
            mask = _mask_for(name, convention.masks or "keep", masks)
            named |= {name: mask} if convention.masks and mask is not None else {}
        else:
            named[name] = target if TARGET.search(name) else memory
    return module.decode(**named)


def _masks(form: str, source: Tensor, target: Tensor, pad_id: int) -> dict[str, Tensor]:
    length = target.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=target.device).tril()
    keep_source = (source != pad_id)[:, None]
    keep_target = (target != pad_id)[:, None] & causal
    made = {
        "hf source": (source != pad_id).long(),
        "causal": ~causal,
        "pad source": source == pad_id,
        "pad target": target == pad_id,
    }
    size = source.shape[1]
    made |= {"open": torch.zeros(size, size, dtype=torch.bool, device=source.device)}
    if form == "keep":
        return made | {"source": keep_source, "target": keep_target}
    source_heads, target_heads = keep_source[:, None], keep_target[:, None]
    if form == "hide":
        source_heads, target_heads = ~source_heads, ~target_heads
    return made | {"source": source_heads, "target": target_heads}


def _mask_for(name: str, form: str, masks: Mapping[str, Tensor]) -> Tensor | None:
    """Choose the mask for an argument by its name; None: leave the argument out."""
    if not MASK.search(name):
        return None
    target = re.search(r"tgt|trg|target|dec|look|causal|subsequent|self", name) is not None
    if form == "torch":
        if "pad" in name:
            return masks["pad target" if target else "pad source"]
        return masks["causal"] if target else None if "mem" in name else masks["open"]
    return masks["target"] if target else masks["source"]
