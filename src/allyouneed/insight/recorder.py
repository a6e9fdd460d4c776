"""Recordings of attention while other code calls a model: a training step, an evaluation, a notebook cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, overload

import numpy as np
from torch import nn

from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.explorer import FORMAT, model_facts, pack_arrays
from allyouneed.insight.hooks import ModuleRecording, record_module
from allyouneed.insight.page import Showable
from allyouneed.insight.variants.switches import Switches
from allyouneed.insight.variants.variant import entropies, mean_jacobian, weights_of
from allyouneed.insight.view import AttentionView
from allyouneed.insight.words import links_of
from allyouneed.model.probe import KINDS, AttentionRecorder, record_attention
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer


class Recording(Showable, Drawable):
    """The last forward pass of a model inside a `record` block; a notebook shows its first sentence in the explorer.

    Args:
        model: The recorded model.
        recorded: The recorder.
        tokenizer: Tokenizer that names the tokens, or None.
    """

    def __init__(self, model: Transformer, recorded: AttentionRecorder, tokenizer: AnyTokenizer | None):
        self.model, self.recorded, self._tokenizer = model, recorded, tokenizer

    @property
    def encoder(self) -> np.ndarray:
        """Weights of the encoder's self-attention in the first sentence, with padding, [layer, head, query, key]."""
        return self._weights("encoder")

    @property
    def decoder(self) -> np.ndarray:
        """Weights of the decoder's self-attention in the first sentence, with padding, [layer, head, query, key]."""
        return self._weights("decoder")

    @property
    def cross(self) -> np.ndarray:
        """Weights of the encoder-decoder attention in the first sentence, with padding, [layer, head, query, key]."""
        return self._weights("cross")

    def stages(self, kind: str, layer: int) -> dict[str, np.ndarray]:
        """Return the intermediate results of a layer for the first sentence.

        Args:
            kind: "encoder", "decoder" or "cross".
            layer: Layer, from 0.

        Returns:
            Arrays by name, see `Attention.stages`.

        Raises:
            UserError: If nothing was recorded, or there is no such kind or layer.
        """
        self._check_recorded()
        layers = self.recorded.arrays(kind, 0)
        if not 0 <= layer < len(layers):
            raise UserError(
                f"no layer {layer} of {kind!r} was recorded: kinds are {', '.join(KINDS)}, layers count from 0."
            )
        return layers[layer]

    def data(self) -> dict[str, Any]:
        """Convert to the data of the explorer, without variants, predictions and search, which were not computed.

        Raises:
            UserError: If nothing was recorded.
        """
        self._check_recorded()
        recorded = self.recorded
        weights = weights_of(recorded)
        source = self._tokens(recorded.source_ids[0].tolist())
        inputs = self._tokens(recorded.target_ids[0].tolist(), of_target=True)
        target = [*inputs[1:], "→"]
        entropy = [round(x, 3) for kind in KINDS for x in entropies(weights[kind]).flatten().tolist()]
        cross = weights["cross"][deciding_layer(len(weights["cross"]))].mean(axis=0)
        links = links_of(cross, range(len(source)), range(len(target)))
        base = {
            "key": "",
            "switches": Switches().as_json(),
            "source_tokens": source,
            "entropy": entropy,
            "jacobian": mean_jacobian(weights),
            "change": [0] * len(entropy),
            "predictions": None,
            "translation": None,
        }
        data = {
            "format": FORMAT,
            "text": self._text(source),
            "translation": self._text(inputs),
            "languages": None,
            "model": model_facts(self.model),
            "source": {"text": "", "tokens": source, "words": _words(source)},
            "target": {"text": "", "tokens": target, "inputs": inputs, "words": _words(target)},
            "base": base,
            "variants": {},
            "stages": None,
            "links": links,
            "search": None,
        }
        pack_arrays(data, recorded)
        return data

    def view(self) -> AttentionView:
        """Return the weights of the first sentence with statistics, as `allyouneed.view` does for other models."""
        ids = self.recorded.source_ids[0].tolist() if self.recorded.sites else []
        arrays = {kind: self._weights(kind) for kind in KINDS}
        return AttentionView(
            arrays, self._tokens(ids), self._tokens(self.recorded.target_ids[0].tolist(), of_target=True)
        )

    def _weights(self, kind: str) -> np.ndarray:
        self._check_recorded()
        return weights_of(self.recorded)[kind]

    def _check_recorded(self) -> None:
        if not self.recorded.sites:
            raise UserError("nothing was recorded: call the model inside the `with` block, in the same thread.")

    def _tokens(self, ids: list[int], of_target: bool = False) -> list[str]:
        if self._tokenizer is None:
            return [f"#{i}" for i in ids]
        return (self._tokenizer.target if of_target else self._tokenizer).pieces(ids)

    def _text(self, tokens: list[str]) -> str:
        words = "".join(token for token in tokens if token not in ("<s>", "</s>", "<pad>"))
        return words.replace("▁", " ").strip() if self._tokenizer else " ".join(tokens)


@overload
def record(  # type: ignore[overload-overlap]
    model: Transformer, tokenizer: AnyTokenizer | None = None
) -> AbstractContextManager[Recording]: ...


@overload
def record(model: nn.Module) -> AbstractContextManager[ModuleRecording]: ...


def record(
    model: nn.Module, tokenizer: AnyTokenizer | None = None
) -> AbstractContextManager[Recording] | AbstractContextManager[ModuleRecording]:
    """Record every head of the last forward pass of `model` in this thread.

    For a `Transformer` of this package, also inside a wrapper such as `DistributedDataParallel`, the recording has all
    intermediate results. Inside the block, attention is computed step by step, and training does not pack sentences;
    outputs and gradients agree to rounding. For any other module, the weights of every `nn.MultiheadAttention` in it
    are recorded, for example of `nn.Transformer` (see `hooks.record_module`). Other threads and other models are not
    affected. A model compiled by `torch.compile` is not recorded: record the model itself.

    Example:
        with record(model) as recording:
            model(source_ids, target_ids)
        recording.cross

    Args:
        model: Model to record.
        tokenizer: Tokenizer that names the tokens of a `Transformer`; without it, tokens are shown as ids.

    Returns:
        Context manager that yields a `Recording`, for other modules a `hooks.ModuleRecording`.

    Raises:
        UserError: If the model is no module, or contains neither a `Transformer` nor a `nn.MultiheadAttention`.
    """
    if not isinstance(model, nn.Module):
        hint = "Give its model: translator.model." if hasattr(model, "model") else "Give the model."
        raise UserError(f"record needs a torch.nn.Module, not {type(model).__name__}. {hint}")
    for part in model.modules():
        if isinstance(part, Transformer):
            return _record(part, tokenizer)
    return record_module(model)


@contextmanager
def _record(model: Transformer, tokenizer: AnyTokenizer | None) -> Iterator[Recording]:
    with record_attention(model, stages=True) as recorded:
        yield Recording(model, recorded, tokenizer)


def _words(tokens: list[str]) -> list[list[int]]:
    return [[i, i + 1, -1, -1] for i in range(len(tokens) - 1)]
