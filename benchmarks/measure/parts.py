"""Time, arithmetic and memory traffic of each part of a training step, measured inside real steps.

Parts are PyTorch operations, the package's kernels and the optimizers' updates. Operations are observed by a dispatch
mode, the others by wrappers around the functions that start them. Observing takes time between the parts, not in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest.mock import patch

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from allyouneed import kernels
from allyouneed.training.optimizer import AdamW, Muon, Optimizer
from benchmarks.measure.sizes import muon_operations

_NAMES = {
    "native_layer_norm": "LayerNorm",
    "native_layer_norm_backward": "LayerNorm, backward",
    "embedding": "embedding",
    "embedding_dense_backward": "embedding, backward",
    "relu_": "ReLU",
    "threshold_backward": "ReLU, backward",
}
_EMBEDDINGS = "loss: gradient of embeddings"
_NORM_OPERATIONS = 8  # floating-point operations per element of LayerNorm
_ADAM_OPERATIONS, _ADAM_TENSORS = 14, 7  # per weight: operations; reads of w, g, m and v, writes of w, m and v
_MUON_TENSORS = 5  # reads of w, g and the momentum, writes of w and the momentum


@dataclass
class Part:
    """Sums over the calls of one part in a step."""

    calls: int = 0
    seconds: float = 0.0
    operations: float = 0.0  # floating-point operations
    bytes: float = 0.0  # inputs and outputs, each once


class Cost(NamedTuple):
    """Cost of a call."""

    part: str
    operations: float
    bytes: float


class PartRecorder(TorchDispatchMode):
    """Observes a training step.

    Args:
        tokens: Numbers of packed tokens of the batch, shown as "n" in the shapes of products.
        vocab_size: Size of the vocabulary.
    """

    def __init__(self, tokens: Sequence[int], vocab_size: int):
        super().__init__()
        self.parts: dict[str, Part] = {}
        self._tokens, self._vocab_size = set(tokens), vocab_size

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        start = time.perf_counter()
        result = operation(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        if not (operation.is_view or "empty" in operation.__name__):  # without memory traffic
            self.add(seconds, *self._operation_cost(operation, args, kwargs or {}, result))
        return result

    def add(self, seconds: float, name: str, operations: float, moved: float) -> None:
        part = self.parts.setdefault(name, Part())
        part.calls += 1
        part.seconds += seconds
        part.operations += operations
        part.bytes += moved

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Record the operations, kernels and updates that run meanwhile."""
        with ExitStack() as stack:
            for owner, name, cost in self._functions():
                stack.enter_context(patch.object(owner, name, self._wrap(getattr(owner, name), cost)))
            stack.enter_context(self)
            yield

    def _functions(self) -> list[tuple[Any, str, Callable[..., Cost]]]:
        """List the observed functions: owner, name, and the cost of a call by its arguments."""
        optimizers = [(cls, "step", _update_cost) for cls in (AdamW, Muon)]
        return [
            (kernels.attention, "attend", _attention_cost),
            (kernels.attention_backward, "attend_backward", _attention_backward_cost),
            (kernels.dropout, "drop", _dropout_cost),
            (kernels.loss, "lay_out", lambda weight: Cost("loss: packing of embeddings", 0, 3 * _size(weight))),
            *((cls, "__call__", _loss_cost) for cls in (kernels.loss.TokenLoss, kernels.loss_amx.AmxTokenLoss)),
            (kernels.loss_amx.AmxTokenLoss, "add_weight_gradient", _weight_gradient_cost),
            (kernels.matmul, "matmul", lambda a, b, *_, **__: self._product_cost(a, b)),
            *optimizers,
        ]

    def _wrap(self, function: Callable[..., Any], cost: Callable[..., Cost]) -> Callable[..., Any]:
        def observed(*args: Any, **kwargs: Any) -> Any:
            with _disable_current_modes():
                start = time.perf_counter()
                result = function(*args, **kwargs)
                self.add(time.perf_counter() - start, *cost(*args, **kwargs))
            return result

        return observed

    def _operation_cost(self, operation: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Cost:
        name = operation._schema.name.rpartition("::")[2]
        if name in ("mm", "addmm", "addmm_"):
            return self._product_cost(*[x for x in args if isinstance(x, Tensor)][-2:])
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        moved = sum(_size(x) for x in {x.data_ptr(): x for x in tensors}.values())
        elements = sum(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))
        if name == "embedding_dense_backward":
            moved, elements = _size(args[0]) + _size(result), args[0].numel()
        if name == "embedding":
            moved = 2 * _size(result)
        each = _NORM_OPERATIONS if "norm" in name else 1
        return Cost(_NAMES.get(name, f"PyTorch's {name}"), each * elements, moved)

    def _product_cost(self, a: Tensor, b: Tensor) -> Cost:
        """Return the cost of a product, named by its rows, depth and columns."""
        rows, depth, columns = a.shape[0], a.shape[1], b.shape[1]
        sizes = ["n" if size in self._tokens else f"{size:,}" for size in (rows, depth, columns)]
        name = _EMBEDDINGS if rows == self._vocab_size else "product " + " x ".join(sizes)
        return Cost(name, 2.0 * rows * depth * columns, _size(a) + _size(b) + 4 * rows * columns)


def _size(*tensors: Tensor) -> int:
    """Return the bytes of the tensors' elements."""
    return sum(x.numel() * x.element_size() for x in tensors)


def _pairs(layout: Any) -> float:
    """Count the visible pairs of a query and a key."""
    queries, keys = layout.starts.diff().double(), layout.key_starts.diff().double()
    return float((queries * (queries + 1) / 2 if layout.causal else queries * keys).sum())


def _attention_cost(queries: Tensor, keys: Tensor, values: Tensor, heads: int, layout: Any) -> Cost:
    out = 4 * len(queries) * values.shape[1]
    operations = 2 * _pairs(layout) * (keys.shape[1] + values.shape[1])
    return Cost("attention", operations, _size(queries, keys, values) + out)


def _attention_backward_cost(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, heads: int, layout: Any, *_: Any
) -> Cost:
    """Count five products: scores, and gradients of weights, values, queries and keys."""
    operations = 2 * _pairs(layout) * (3 * keys.shape[1] + 2 * values.shape[1])
    return Cost("attention, backward", operations, 2 * _size(queries, keys, values) + _size(grad))


def _dropout_cost(x: Tensor, key: int, p: float, onto: Tensor | None = None, **_: Any) -> Cost:
    name = "dropout" if onto is None else "dropout and residual"
    return Cost(name, 2 * x.numel(), (2 if onto is None else 3) * _size(x))


def _loss_cost(self: Any, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, _: Any) -> Cost:
    """Count both products; the gradient of the logits is written once, since it is the input of the third product."""
    rows, depth = hidden.shape
    vocab_size = self._vocab_size
    products = 1 if grad_hidden is None else 2
    moved = products * (_size(hidden) + 4 * vocab_size * depth) + 4 * rows * vocab_size
    return Cost("loss: logits, softmax, gradient", 2.0 * products * rows * depth * vocab_size, moved)


def _weight_gradient_cost(_: Any, total: Tensor, hidden: Tensor, __: bool) -> Cost:
    moved = 2 * len(total) * len(hidden) + _size(hidden, total)  # the gradient of the logits is in bf16
    return Cost(_EMBEDDINGS, 2.0 * len(hidden) * total.numel(), moved)


def _update_cost(optimizer: Optimizer) -> Cost:
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    if isinstance(optimizer, Muon):
        operations = sum(muon_operations(*weight.shape) for weight in weights)
        return Cost("update by Muon", operations, _MUON_TENSORS * _size(*weights))
    count = sum(weight.numel() for weight in weights)
    return Cost("update by Adam", _ADAM_OPERATIONS * count, _ADAM_TENSORS * _size(*weights))
