"""Making a module from a class or function whose parameters have telling names, such as `src_vocab_size`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from allyouneed.errors import UserError

# The first pattern that fits a required parameter's name gives its value.
_VALUES: tuple[tuple[str, Any], ...] = (
    (r"(src|source|enc|input).*vocab|vocab.*(src|source|enc|input)|^(src|source)_?(size|dim)$|^input_dim$", 29),
    (r"vocab|^(tgt|trg|target)_?(size|dim)$|^output_dim$|n_?tokens?$", 31),
    (r"pad", 0),
    (r"sos|bos|start", 1),
    (r"eos|end_(id|idx|token)", 2),
    (r"device", "cpu"),
    (r"drop|^p$", 0.1),
    (r"(max|seq|context|block).*(len|size|pos)|length|max_?pos|n_?pos", 64),
    (r"head|^h$", 4),
    (r"layer|block|depth|stack|^n$", 2),
    (r"expan", 2),
    (r"ff|inner|feed|hidden_(size|dim)_?2|pf_dim|dim_feedforward", 48),
    (r"d_?(k|v|q)$|head_dim|dim_head", 8),
    (r"d_?model|emb|hid|dim|width|size|ninp|features", 32),
)


def build_module(factory: Callable[..., Any]) -> tuple[nn.Module, str]:
    """Call a class or function, with small sizes for required parameters.

    Args:
        factory: The class or function.

    Returns:
        The module, and a description of the arguments that were chosen ("" if none were needed).

    Raises:
        UserError: If a parameter's meaning is unclear, or the result is no module.
    """
    name = getattr(factory, "__name__", "the function")
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(factory).parameters.values()
    needed = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in kinds]
    chosen = {each: _value(each) for each in needed}
    unclear = [each for each, value in chosen.items() if value is None]
    if unclear:
        raise UserError(
            f"{name} needs arguments ({', '.join(unclear)}): give a function without arguments that calls it."
        )
    made = factory(**chosen)
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} returns an object of type {type(made).__name__}, not a torch.nn.Module.")
    return made, ", ".join(f"{each}={value!r}" for each, value in chosen.items())


def _value(name: str) -> Any:
    return next((value for pattern, value in _VALUES if re.search(pattern, name.lower())), None)
