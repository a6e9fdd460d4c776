"""The steps of somebody's forward pass, observed by hooks on modules and by intercepting torch functions.

Dimensions: batch; source, target, query, key: positions; heads; width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from allyouneed.verification.computation import Batch
from allyouneed.verification.weights import Tap, Weights

_SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax, torch._softmax)
_DROPOUT = (F.dropout, torch.dropout, torch.dropout_, F.dropout1d, F.dropout2d, torch.feature_dropout)


@dataclass
class Functions(TorchFunctionMode):
    """Interception of softmax, attention and dropout functions.

    Attributes:
        without_dropout: Whether dropout is switched off, also where it is called as a function.
        softmaxes: Input, output and dimension of every softmax.
        fused: Arguments of every `scaled_dot_product_attention`: query, key, value, mask, causal, scale.
        active_dropout: Number of dropout calls that would have zeroed elements.
    """

    without_dropout: bool = False
    softmaxes: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    fused: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    active_dropout: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in _DROPOUT:
            rate = named.get("p", args[1] if len(args) > 1 else 0.5)
            training = named.get("training", named.get("train", args[2] if len(args) > 2 else True))
            self.active_dropout += int(bool(training) and rate > 0)
            if self.without_dropout:
                return args[0] if args else named["input"]
        if func is F.scaled_dot_product_attention:
            return self._attention(func, args, named)
        result = func(*args, **named)
        if func in _SOFTMAX:
            x = args[0] if args else named["input"]
            dim = named.get("dim", args[1] if len(args) > 1 else None)
            self.softmaxes.append((x.detach(), result.detach(), -1 if dim is None else int(dim)))
        return result

    def _attention(self, func: Callable[..., Tensor], args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        bound = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"), args, strict=False))
        bound |= named
        self.active_dropout += int(bound.get("dropout_p", 0) > 0)
        if self.without_dropout:
            bound["dropout_p"] = 0.0
        query, key = bound["query"], bound["key"]
        scale = bound.get("scale")
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        mask = bound.get("attn_mask")
        if bound.get("is_causal"):
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = torch.softmax(scores, -1).nan_to_num(0.0)  # rows without any visible key are 0
        self.softmaxes.append((scores.detach(), weights.detach(), -1))
        return func(**bound)


@dataclass(frozen=True)
class Recording:
    """The steps of a forward pass.

    Attributes:
        steps: Values by name, in the order of our computation; see `computation.compute`.
        pre_norm: Whether norms precede the sub-layers; None if unknown.
        order: Layers of each side in the order in which they ran; no entry if that could not be observed.
    """

    steps: Mapping[str, Tensor]
    pre_norm: bool | None
    order: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@contextmanager
def slow_attention() -> Iterator[None]:
    """Switch off PyTorch's fused inference path of `nn.TransformerEncoder`, which bypasses hooks."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def record(module: nn.Module, weights: Weights, batch: Batch, run: Callable[[], Tensor]) -> Recording:
    """Run a module and name the steps that can be observed.

    Args:
        module: The module.
        weights: Its parameters, whose `modules` say which module computes which step.
        batch: The token ids of the run.
        run: Runs the module and returns its logits, [batch, target, vocab].

    Returns:
        The steps.
    """
    calls: dict[str, list[dict[str, Tensor]]] = {}
    order: list[str] = []

    def hook(path: str) -> Callable[..., None]:
        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.is_floating_point()]
            seen = {f"input {i}" if i else "input": x.detach().clone() for i, x in enumerate(tensors[:2])}
            first = output[0] if isinstance(output, tuple | list) else output
            if isinstance(first, Tensor):
                seen["output"] = first.detach().clone()
            calls.setdefault(path, []).append(seen)
            order.append(path)

        return keep

    paths = list(dict.fromkeys(tap.module for tap in weights.modules))
    first = {id(module.get_submodule(path)): path for path in reversed(paths)}
    same = {path: first[id(module.get_submodule(path))] for path in paths}
    functions = Functions(without_dropout=True)
    with ExitStack() as stack:
        stack.enter_context(slow_attention())
        for path in dict.fromkeys(same.values()):
            handle = module.get_submodule(path).register_forward_hook(hook(path), with_kwargs=True)
            stack.callback(handle.remove)
        stack.enter_context(functions)
        logits = run()
    steps = _named(weights, batch, calls, same) | _softmaxes(weights, batch, functions.softmaxes)
    shared = len(set(same.values())) < len(same)
    ran = {} if shared else _layer_order(weights, order)
    return Recording({**steps, "logits": logits.detach()}, _is_pre_norm(weights.modules, order), ran)


def _lengths(step: str, batch: Batch) -> tuple[int, ...]:
    """Return the expected number of positions of a step; for cross-attention's keys, also the mistaken one."""
    source, target = batch.source.shape[1], batch.target.shape[1]
    if step.endswith((".cross.memory", ".cross.keys", ".cross.values")):
        return source, target
    return (source,) if step.startswith(("source", "encoder")) else (target,)


def _layer_order(weights: Weights, ran: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the layers of each side in the order of their first call, for sides whose projections are hooked."""
    orders = {}
    for side, layers in (("encoder", weights.encoder), ("decoder", weights.decoder)):
        firsts: dict[int, int] = {}
        observed: set[int] = set()
        for tap in weights.modules:
            parts = tap.step.split(".")
            if parts[0] == side and len(parts) == 4 and parts[-1] in ("queries", "inner", "output"):
                observed.add(int(parts[1]))
                if tap.module in ran:
                    at = ran.index(tap.module)
                    firsts[int(parts[1])] = min(at, firsts.get(int(parts[1]), at))
        if observed == set(range(len(layers))):
            orders[side] = tuple(sorted(firsts, key=firsts.__getitem__))
    return orders


def _named(
    weights: Weights, batch: Batch, calls: Mapping[str, list[dict[str, Tensor]]], same: Mapping[str, str]
) -> dict[str, Tensor]:
    """Name what hooks saw; same: the path under which a module that several paths share was hooked."""
    steps: dict[str, Tensor] = {}
    used: dict[str, dict[tuple[str, str], int]] = {}
    rows = len(batch.source)
    for tap in weights.modules:
        site = (tap.step.rpartition(".")[0], tap.module)
        turns = used.setdefault(same[tap.module], {})
        made = calls.get(same[tap.module], [])
        if site not in turns:
            fitting = [i for i, call in enumerate(made) if i not in turns.values() and _fits(call, tap, batch)]
            turns[site] = fitting[0] if fitting else -1
        call = made[turns[site]] if turns[site] >= 0 else {}
        x = call.get(tap.side, call.get("input") if tap.side == "input 1" else None)
        if x is None:
            continue
        shaped = next((y for n in _lengths(tap.step, batch) if (y := batch_first(x, rows, n)) is not None), None)
        if shaped is not None and shaped.dim() == 4:  # heads are split before the projection
            shaped = shaped.flatten(2)
        if shaped is not None and shaped.dim() == 3:
            index, count = tap.part
            steps[tap.step] = shaped.chunk(count, -1)[index]
    return steps


def _fits(call: Mapping[str, Tensor], tap: Tap, batch: Batch) -> bool:
    x = call.get("output" if tap.side.startswith("input 1") else tap.side)
    if x is None:
        return False
    return any(batch_first(x, len(batch.source), length) is not None for length in _lengths(tap.step, batch))


def batch_first(x: Tensor, rows: int, length: int) -> Tensor | None:
    """Return x as [batch, length, ...]; None if its first dimensions are neither [batch, length] nor reversed."""
    if x.dim() < 2:
        return None
    if x.shape[:2] == (rows, length):
        return x
    if x.shape[:2] == (length, rows):
        return x.transpose(0, 1)
    return x.unflatten(0, (rows, length)) if x.dim() == 2 and len(x) == rows * length else None


def _softmaxes(weights: Weights, batch: Batch, softmaxes: Iterable[tuple[Tensor, Tensor, int]]) -> dict[str, Tensor]:
    """Name the softmaxes of attention, which run in the order of the layers."""
    source, target = batch.source.shape[1], batch.target.shape[1]
    sites: list[tuple[str, int, tuple[int, ...]]]
    sites = [(f"encoder.{i}.self", source, (source,)) for i in range(len(weights.encoder))]
    for i in range(len(weights.decoder)):
        sites += [(f"decoder.{i}.self", target, (target,)), (f"decoder.{i}.cross", target, (source, target))]
    pending = [(x, y) for x, y, _ in softmaxes]
    steps: dict[str, Tensor] = {}
    for site, queries, lengths in sites:
        for keys in lengths:
            taken = _take(pending, (len(batch.source), weights.heads, queries, keys))
            if taken is not None:
                steps[f"{site}.scores"], steps[f"{site}.weights"] = taken
                break
    return steps


def _take(pending: list[tuple[Tensor, Tensor]], shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor] | None:
    """Take the next softmax if it has this shape, with batch and heads in one dimension, or one softmax per head."""
    rows, heads, queries, keys = shape
    while pending and pending[0][0].shape[-2:] != (queries, keys) and pending[0][0].dim() < 3:
        pending.pop(0)
    if not pending or pending[0][0].shape[-2:] != (queries, keys):
        return None
    x, y = pending[0]
    if x.shape == shape or (x.dim() == 3 and len(x) == rows * heads):
        pending.pop(0)
        return x.reshape(shape), y.reshape(shape)
    parts = pending[:heads]
    if x.shape == (rows, queries, keys) and all(part[0].shape == x.shape for part in parts) and len(parts) == heads:
        del pending[:heads]
        return torch.stack([part[0] for part in parts], 1), torch.stack([part[1] for part in parts], 1)
    return None


def _is_pre_norm(taps: Iterable[Tap], order: list[str]) -> bool | None:
    """Tell from the order of calls whether the first layer's norm precedes its attention; None if unknown."""
    first = {tap.step: tap.module for tap in taps}
    norm = first.get("encoder.0.self.norm_input")
    attention = first.get("encoder.0.self.queries", first.get("encoder.0.self.output"))
    if norm is None or attention is None or norm not in order or attention not in order:
        return None
    return order.index(norm) < order.index(attention)
