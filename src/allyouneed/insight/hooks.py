"""Recordings of the attention of any PyTorch module that is built from `nn.MultiheadAttention`."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from allyouneed.errors import UserError
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.page import Showable
from allyouneed.insight.view import AttentionView, view

_SIGNATURE = inspect.signature(nn.MultiheadAttention.forward)


class _WithoutFastPath:
    """Context manager that switches off PyTorch's fused inference path while at least one thread is in a block."""

    def __init__(self) -> None:
        self._lock, self._blocks, self._enabled = threading.Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._enabled = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
            self._blocks += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                torch.backends.mha.set_fastpath_enabled(self._enabled)


_without_fast_path = _WithoutFastPath()


class ModuleRecording(Showable, Drawable):
    """Attention of the last call of every `nn.MultiheadAttention` of a module; see `record`.

    Attributes:
        weights: Weights [batch, head, query, key] by the name of the attention in the module, in the order of the
            calls.
    """

    def __init__(self, module: nn.Module):
        self.weights: dict[str, Tensor] = {}
        self._across: set[str] = set()  # names of those whose keys differ from their queries
        self._kinds = _known_kinds(module)

    def add(self, name: str, weights: Tensor, across: bool) -> None:
        """Keep the weights of a call, of one or several sentences."""
        self.weights.pop(name, None)
        self.weights[name] = weights.detach() if weights.dim() == 4 else weights.detach()[None]
        self._across = self._across | {name} if across else self._across - {name}

    def names(self) -> dict[str, list[str]]:
        """List the names of the recorded attentions by kind, in the order of the calls.

        Attention whose keys differ from its queries is "cross". Self-attention is "decoder" in a
        `nn.TransformerDecoderLayer`, and where no query attends to a later position; other self-attention is "encoder".
        """
        kinds: dict[str, list[str]] = {"encoder": [], "decoder": [], "cross": []}
        for name, weights in self.weights.items():
            causal = weights.shape[-1] > 1 and not weights.triu(1).any()
            guessed = "cross" if name in self._across else "decoder" if causal else "encoder"
            kinds[self._kinds.get(name, guessed)].append(name)
        return kinds

    def view(
        self, source_tokens: Sequence[str] | None = None, target_tokens: Sequence[str] | None = None, batch: int = 0
    ) -> AttentionView:
        """Show a sentence of the batch in the explorer; for the arguments and errors see `allyouneed.view`.

        Raises:
            UserError: If nothing was recorded.
        """
        if not self.weights:
            raise UserError("nothing was recorded: call the module inside the `with` block, in the same thread.")
        kinds = {kind: [self.weights[name] for name in names] or None for kind, names in self.names().items()}
        return view(kinds["encoder"], kinds["decoder"], kinds["cross"], source_tokens, target_tokens, batch)

    def data(self) -> dict[str, Any]:
        """Convert the first sentence to the data of the explorer, with numbered positions."""
        return self.view().data()


@contextmanager
def record_module(module: nn.Module) -> Iterator[ModuleRecording]:
    """Record the attention of a module in this thread while the block runs.

    Weights are computed for each head, also where the code asks for averaged weights or for none, and PyTorch's fused
    inference path, which has no weights, is switched off. Results are unchanged up to rounding. Dropout is applied to
    recorded weights: call `module.eval()` first. A module compiled by `torch.compile` is not recorded.

    Args:
        module: For example a `nn.Transformer`, or your own module.

    Yields:
        The recording.

    Raises:
        UserError: If the module contains no `nn.MultiheadAttention`.
    """
    attentions = {name: part for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)}
    if not attentions:
        raise UserError(
            f"{type(module).__name__} contains no nn.MultiheadAttention. Give its attention weights to "
            "allyouneed.view, in Hugging Face transformers from output_attentions=True."
        )
    recording, thread = ModuleRecording(module), threading.get_ident()
    with ExitStack() as stack:
        stack.enter_context(_without_fast_path)
        for name, attention in attentions.items():
            hooks = _Hooks(name, recording, thread)
            stack.callback(attention.register_forward_pre_hook(hooks.before, with_kwargs=True).remove)
            stack.callback(attention.register_forward_hook(hooks.after, with_kwargs=True, prepend=True).remove)
        yield recording


class _Hooks:
    """Hooks of one attention: request the weights of each head, keep them, and return what the caller requested.

    Other threads may call them while this thread adds or removes them, and PyTorch then leaves out `kwargs`.
    """

    def __init__(self, name: str, recording: ModuleRecording, thread: int):
        self.name, self.recording, self.thread = name, recording, thread
        self.requested: list[tuple[bool, bool]] = []  # of the calls that have not returned

    def before(
        self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if threading.get_ident() != self.thread or kwargs is None:
            return None
        call = _SIGNATURE.bind(attention, *args, **kwargs)
        call.apply_defaults()
        named = call.arguments
        self.requested.append((named["need_weights"], named["average_attn_weights"]))
        named |= {"need_weights": True, "average_attn_weights": False}
        return call.args[1:], call.kwargs

    def after(self, attention: nn.Module, args: tuple[Any, ...], *called: Any) -> tuple[Tensor, Tensor | None] | None:
        if threading.get_ident() != self.thread:
            return None
        kwargs, (result, weights) = called
        needed, averaged = self.requested.pop()
        query, key = _SIGNATURE.bind(attention, *args, **kwargs).args[1:3]
        self.recording.add(self.name, weights, across=query is not key and not _equal(query, key))
        return result, (weights.mean(dim=-3) if averaged else weights) if needed else None


def _equal(query: Tensor, key: Tensor) -> bool:
    return query.shape == key.shape and torch.equal(query, key)


def _known_kinds(module: nn.Module) -> dict[str, str]:
    """Return the kinds of attentions in PyTorch's own layers, by name."""
    kinds: dict[str, str] = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.TransformerDecoderLayer):
            prefix = f"{name}." if name else ""
            kinds |= {f"{prefix}self_attn": "decoder", f"{prefix}multihead_attn": "cross"}
    return kinds
