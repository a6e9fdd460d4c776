"""The modules and bare parameters that hold weights, and what their attributes say."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from torch import Tensor, nn

_NORM = re.compile(r"norm|(^|[._])ln")
_POSITION = re.compile(r"pos")
_HEADS = ("num_heads", "n_heads", "nhead", "n_head", "heads", "h", "num_head", "nheads", "num_attention_heads", "head")
_EPS = ("eps", "epsilon", "variance_epsilon")


class Unmapped(Exception):
    """The parameters' roles are unclear; the message says which."""


@dataclass
class Owner:
    """A module that holds parameters itself, or a bare parameter.

    Attributes:
        path: Path of the module, or of the parameter if `module` is None.
        module: The module.
        matrix: Its matrix as [out, in], if it has one.
        vectors: Its vectors by name.
    """

    path: str
    module: nn.Module | None
    matrix: Tensor | None = None
    vectors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def bias(self) -> Tensor | None:
        return next((x for name, x in self.vectors.items() if "bias" in name), None)

    def is_among(self, parameters: Collection[str]) -> bool:
        """Check whether all parameters of a module are in a list of names."""
        own = [name for name, _ in self.module.named_parameters(recurse=False)] if self.module is not None else []
        return bool(own) and all(f"{self.path}.{name}" in parameters for name in own)

    def hooked(self) -> bool:
        return isinstance(self.module, nn.Linear | nn.LayerNorm | nn.Embedding) or (
            self.module is not None and self.matrix is None
        )


def find_heads(module: nn.Module) -> int:
    """Read the number of heads from an attribute of the module, its submodules or its configuration."""
    for each in [*module.modules(), getattr(module, "config", None)]:
        for name in _HEADS:
            value = getattr(each, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    for path, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and "head" in path.rpartition(".")[2].lower():
            return len(child)
    for name, x in module.named_parameters():
        if x.dim() == 3 and re.search(r"(^|[._])(w_?)?(q|k|v|query|key|value)$", name.lower()):
            return len(x)  # [heads, d_model, width]
    raise Unmapped("the number of heads is not an attribute of the module: give num_heads")


def find_eps(module: nn.Module) -> float:
    for path, each in module.named_modules():
        if _NORM.search(path.rpartition(".")[2].lower()) or isinstance(each, nn.LayerNorm):
            for name in _EPS:
                value = getattr(each, name, None)
                if isinstance(value, float):
                    return value
    return 1e-5


def list_owners(module: nn.Module) -> list[Owner]:
    """List the holders of parameters in the order of registration."""
    owners = []
    for path, each in module.named_modules(remove_duplicate=False):
        parameters = dict(each.named_parameters(recurse=False))
        if isinstance(each, nn.MultiheadAttention):
            owner = Owner(f"{path}.in_proj" if path else "in_proj", None, parameters.get("in_proj_weight"))
            if parameters.get("in_proj_bias") is not None:
                owner.vectors["bias"] = parameters["in_proj_bias"]
            if owner.matrix is not None:
                owners.append(owner)
            else:
                owners += [Owner(f"{path}.{c}_proj", None, parameters[f"{c}_proj_weight"]) for c in "qkv"]
            continue
        matrices = {name: x for name, x in parameters.items() if x.dim() > 1}
        vectors = {name: x for name, x in parameters.items() if x.dim() == 1}
        if isinstance(each, nn.Linear | nn.Embedding) or (not matrices and vectors):
            owners.append(Owner(path, each, next(iter(matrices.values()), None), vectors))
            continue
        for name, x in matrices.items():
            biases = [v for key, v in vectors.items() if "b" in key and key.replace("b", "w") == name.lower()]
            bias = {"bias": biases[0]} if biases else {}
            owners.append(Owner(f"{path}.{name}" if path else name, None, _as_rows(name, x), bias))
    return owners


def _as_rows(name: str, x: Tensor) -> Tensor:
    """Convert a bare parameter, which is multiplied from the right (x @ W), to [out, in]."""
    if _POSITION.search(name) or "emb" in name.lower():
        return x
    if x.dim() == 3:  # [heads, d_model, width], or [heads, width, d_model] for W^O
        return x.flatten(0, 1).T if "o" in name.lower() else x.transpose(1, 2).flatten(0, 1)
    return x.T


def vector_size(owner: Owner) -> int:
    return next((len(x) for x in owner.vectors.values()), 0)


def is_position(owner: Owner) -> bool:
    last = owner.path.lower().split(".")[-2:]
    named = (part for part in last if not re.search(r"ff|feed|wise", part))
    return owner.matrix is not None and any(_POSITION.search(part) for part in named)
