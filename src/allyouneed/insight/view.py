"""The explorer for attention weights of any model: arrays in, a page out.

Shapes: layer; batch; head; query, key: tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from allyouneed.errors import UserError
from allyouneed.insight.coding import pack_weights
from allyouneed.insight.drawable import Drawable
from allyouneed.insight.page import PAGE_BYTES, Showable, html
from allyouneed.insight.tokens import SPECIAL, mark_words, word_ranges
from allyouneed.insight.variants.switches import Switches
from allyouneed.insight.variants.variant import entropies
from allyouneed.model.probe import KINDS

Arrays: TypeAlias = Any  # an array or tensor, or a sequence of them, one for each layer
MAX_POSITIONS = 1024
_TOLERANCE = 0.02  # of the sum of a row; half precision is off by up to 0.01
_PRECISIONS = ((16, 0), (8, 0), (16, 32), (16, 16), (16, 8), (16, 4))  # bits, and keys per query (0: all)
_EAGER = 'In Hugging Face transformers, load the model with attn_implementation="eager".'
_SIDES = {"encoder": ("source", "source"), "decoder": ("target", "target"), "cross": ("target", "source")}


class AttentionView(Showable, Drawable):
    """Attention weights of a model, as arrays and as a page; a notebook displays the page.

    Attributes:
        encoder: Weights of the encoder's self-attention, float32, [layer, head, query, key]; None if not given.
        decoder: Weights of the decoder's self-attention, in the same format.
        cross: Weights of the encoder-decoder attention, in the same format.
        source_tokens: Tokens of the source, empty if neither `encoder` nor `cross` was given.
        target_tokens: Tokens that the decoder receives, empty if neither `decoder` nor `cross` was given.
    """

    def __init__(self, arrays: dict[str, np.ndarray], source_tokens: list[str], target_tokens: list[str]):
        self.encoder, self.decoder, self.cross = (arrays.get(kind) for kind in KINDS)
        self.source_tokens, self.target_tokens = source_tokens, target_tokens

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The given arrays by kind: "encoder", "decoder", "cross"."""
        named = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: array for kind, array in named.items() if array is not None}

    def statistics(self) -> dict[str, dict[str, np.ndarray]]:
        """Measure every head.

        Returns:
            For each kind the measures, shape [layer, head]: `entropy` (mean over queries, nats) and `largest` (mean of
            the largest weight of a query); for self-attention also `distance` (mean, in tokens) and the mean weight on
            the `previous`, `same` and `next` position.
        """
        return {kind: _measures(array, kind != "cross") for kind, array in self.arrays.items()}

    def data(self) -> dict[str, Any]:
        """Convert to the data of the explorer (see `explorer.py`), without what only a model can compute."""
        arrays = self.arrays
        source, target = mark_words(self.source_tokens), mark_words(self.target_tokens)
        causal = self.decoder is None or not np.triu(self.decoder, 1).any()
        entropy = [round(x, 3) for array in arrays.values() for x in entropies(array).flatten().tolist()]
        data: dict[str, Any] = {
            "format": 1,
            "text": _text(source) if source else None,
            "translation": _text(target) if target else None,
            "languages": None,
            "model": {"kinds": {kind: list(array.shape[:2]) for kind, array in arrays.items()}},
            "source": {"text": "", "tokens": source, "words": word_ranges(source)},
            "target": {
                "text": "",
                "tokens": [*target[1:], "→"],
                "inputs": target,
                "words": word_ranges(target[1:]),
                "predicts": causal,
            },
            "base": {
                "key": "",
                "switches": Switches().as_json(),
                "source_tokens": source,
                "entropy": entropy,
                "change": [0] * len(entropy),
                "predictions": None,
                "translation": None,
            },
            "variants": {},
        }
        room = PAGE_BYTES - len(html(data))
        bits, top = next((each for each in _PRECISIONS if _bytes(arrays, *each) <= room), _PRECISIONS[-1])
        data["base"]["attention"] = {kind: pack_weights(array, bits, top) for kind, array in arrays.items()}
        return data


def view(
    encoder: Arrays = None,
    decoder: Arrays = None,
    cross: Arrays = None,
    source_tokens: Sequence[str] | None = None,
    target_tokens: Sequence[str] | None = None,
    batch: int = 0,
) -> AttentionView:
    """Show the attention weights of any model in the explorer.

    Each of `encoder`, `decoder` and `cross` is one of:
    - a sequence with a tensor [batch, head, query, key] for each layer, as `output_attentions=True` of Hugging Face
      transformers gives it (`encoder_attentions`, `decoder_attentions`, `cross_attentions`, or `attentions`);
    - the same for each generated token, as `generate(..., output_attentions=True)` gives it for greedy search;
    - one array [layer, head, query, key] or [layer, batch, head, query, key].
    Tensors may be on any device, in any floating-point type, and part of a graph. The kinds may have different numbers
    of layers and heads. A model like BERT has only `encoder`, a model like GPT only `decoder`.

    Example:
        out = model(**inputs, output_attentions=True)
        allyouneed.view(encoder=out.attentions, source_tokens=tokenizer.convert_ids_to_tokens(inputs.input_ids[0]))

    Args:
        encoder: Weights of the encoder's self-attention.
        decoder: Weights of the decoder's self-attention.
        cross: Weights of the encoder-decoder attention: queries of the decoder, keys of the encoder.
        source_tokens: Tokens of the source; None to number the positions.
        target_tokens: Tokens that the decoder receives, beginning with the start token; None to number the positions.
        batch: Index of the sentence in the batch.

    Returns:
        The arrays, statistics and page; displayed by a notebook, and written to a file by `save`.

    Raises:
        UserError: If no array is given, or arrays and tokens do not fit together, or the arrays are not attention
            weights.
    """
    given = {"encoder": encoder, "decoder": decoder, "cross": cross}
    arrays = {kind: _array(kind, x, batch) for kind, x in given.items() if x is not None}
    if not arrays:
        raise UserError("view needs attention weights: give encoder=, decoder= or cross=.")
    for kind, array in arrays.items():
        _check_weights(kind, array)
    _check_batches(given)
    lengths = _lengths(arrays)
    source = _tokens("source_tokens", source_tokens, lengths.get("source"), "encoder= or cross=")
    target = _tokens("target_tokens", target_tokens, lengths.get("target"), "decoder= or cross=")
    return AttentionView(arrays, source, target)


def _array(name: str, given: Arrays, batch: int) -> np.ndarray:
    """Convert to float32 [layer, head, query, key]."""
    if not isinstance(given, list | tuple) or _is_nested_list(given):
        array = _numbers(name, given)
        if array.ndim == 5:
            array = array[:, _row(name, array.shape[1], batch)]
        if array.ndim != 4:
            raise UserError(
                f"{name} has the shape {list(array.shape)}; an array needs [layer, head, query, key] or "
                "[layer, batch, head, query, key]. Give layers as a list."
            )
        return array
    if not given or any(isinstance(step, list | tuple) and not step for step in given):
        raise UserError(f"{name} is empty: give one array for each layer. {_EAGER}")
    if isinstance(given[0], list | tuple):
        return _generated(name, given, batch)
    layers = [_layer(f"{name}, layer {number}", layer, batch) for number, layer in enumerate(given, start=1)]
    shapes = {layer.shape for layer in layers}
    if len(shapes) > 1:
        raise UserError(f"{name} has layers of different shapes: {_listed(shapes)}. Give layers of the same shape.")
    return np.stack(layers)


def _is_nested_list(given: Any) -> bool:
    """Whether lists hold plain numbers, as in JSON, instead of arrays."""
    while isinstance(given, list | tuple) and given:
        given = given[0]
    return isinstance(given, int | float)


def _layer(name: str, given: Any, batch: int) -> np.ndarray:
    """Convert one layer to float32 [head, query, key]."""
    if given is None:
        raise UserError(f"{name} is None: the model computed no weights. {_EAGER}")
    array = _numbers(name, given)
    if array.ndim == 4:
        array = array[_row(name, len(array), batch)]
    if array.ndim != 3:
        raise UserError(
            f"{name} has the shape {list(array.shape)}; a layer needs [batch, head, query, key] or [head, query, key]. "
            "Weights averaged over heads need a dimension for the head: weights[:, None]."
        )
    return array


def _generated(name: str, steps: Sequence[Sequence[Any]], batch: int) -> np.ndarray:
    """Join the weights of each generated token, whose keys grow by one token each, [step][layer]."""
    found = [[_layer(f"{name}, layer {n}", x, batch) for n, x in enumerate(layers, start=1)] for layers in steps]
    heads = {layer.shape[0] for layers in found for layer in layers}
    if len({len(layers) for layers in found}) > 1 or len(heads) > 1:
        raise UserError(f"{name} has a different number of layers or heads at each step. Give the output of one model.")
    keys = max(layer.shape[-1] for layers in found for layer in layers)
    joined, seen = [], 0
    for layers in found:
        known = seen if layers[0].shape[1] > seen else 0  # without a cache, each step repeats the earlier queries
        new = [np.pad(x[:, known:], ((0, 0), (0, 0), (0, keys - x.shape[-1]))) for x in layers]
        joined.append(np.stack(new))
        seen += new[0].shape[1]
    return np.concatenate(joined, axis=2)


def _numbers(name: str, given: Any) -> np.ndarray:
    try:
        if isinstance(given, torch.Tensor):
            given = given.detach().to("cpu", torch.float32).numpy()
        return np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, NotImplementedError):  # NotImplementedError: a tensor without values
        raise UserError(f"{name} is not an array of numbers but {type(given).__name__}.") from None


def _row(name: str, count: int, batch: int) -> int:
    if not isinstance(batch, int | np.integer) or isinstance(batch, bool):
        raise UserError(f"batch must be the index of a sentence in the batch, not {type(batch).__name__}.")
    if not 0 <= batch < count:
        raise UserError(f"{name} has a batch of {count}: batch must be from 0 to {count - 1}, not {batch}.")
    return batch


def _check_weights(name: str, array: np.ndarray) -> None:
    if not array.size:
        raise UserError(f"{name} has the shape {list(array.shape)}: there is nothing to show.")
    if max(array.shape[2:]) > MAX_POSITIONS:
        raise UserError(f"{name} has {max(array.shape[2:])} positions, the limit is {MAX_POSITIONS}: shorten the text.")
    if not np.isfinite(array).all():
        raise UserError(
            f"{name} contains NaN or infinity. Give weights after the softmax; a fully masked row gives NaN."
        )
    if array.min() < 0 or array.max() > 1 + _TOLERANCE:
        raise UserError(
            f"{name} has values from {array.min():.4g} to {array.max():.4g}; weights are between 0 and 1. Give weights "
            "after the softmax, and switch off dropout: model.eval()."
        )
    sums = array.sum(axis=-1)
    wrong = (abs(sums - 1) > _TOLERANCE) & (sums != 0)  # a row of zeros is fully masked
    if wrong.any():
        raise UserError(
            f"{name} has rows that sum to {sums[wrong].min():.4g} up to {sums[wrong].max():.4g} instead of 1. Switch "
            "off dropout: model.eval(); give whole rows, with all keys, and the keys in the last dimension."
        )


def _check_batches(given: dict[str, Arrays]) -> None:
    """Check that all arrays have one batch: in beam search, each step orders the hypotheses anew."""
    sizes = {kind: size for kind, x in given.items() if (size := _batch_size(x))}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{size} of {kind}" for kind, size in sizes.items())
        raise UserError(
            f"the arrays disagree about the size of the batch: {found}. After beam search, run the model once more "
            "over the generated tokens and give the attention of this pass."
        )


def _batch_size(given: Arrays) -> int | None:
    in_list = isinstance(given, list | tuple)
    while isinstance(given, list | tuple) and given:
        given = given[0]
    shape: tuple[int, ...] = tuple(getattr(given, "shape", ()))
    return int(shape[-4]) if len(shape) == 5 - in_list else None


def _lengths(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Return the number of source and target positions on which all arrays agree."""
    lengths: dict[str, dict[str, int]] = {"source": {}, "target": {}}
    for kind, array in arrays.items():
        for side, name, count in zip(_SIDES[kind], ("queries", "keys"), array.shape[2:], strict=True):
            lengths[side][f"{count} {name} of {kind}"] = count
    for side, named in lengths.items():
        if len(set(named.values())) > 1:
            raise UserError(
                f"the arrays disagree about the length of the {side}: {', '.join(named)}. Give arrays of the same "
                "pass; cross has queries of the decoder and keys of the encoder."
            )
    return {side: next(iter(named.values())) for side, named in lengths.items() if named}


def _tokens(name: str, tokens: Sequence[str] | None, length: int | None, needed: str) -> list[str]:
    if tokens is None:
        return [f"#{position}" for position in range(length or 0)]
    is_iterable = isinstance(tokens, Iterable) and not isinstance(tokens, str)
    tokens = list(tokens) if is_iterable else []
    if not is_iterable or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{name} must be a list of strings: give tokens, for example from convert_ids_to_tokens.")
    if length is None:
        raise UserError(f"{name} needs {needed}.")
    if len(tokens) != length:
        raise UserError(
            f"{name} has {len(tokens)} tokens, the arrays have {length} positions. Give the tokens that the model "
            "received, special tokens and padding included."
        )
    return tokens


def _measures(array: np.ndarray, own: bool) -> dict[str, np.ndarray]:
    """Measure heads [layer, head, query, key]; own: whether queries and keys are the same tokens."""
    found = {"entropy": entropies(array), "largest": array.max(axis=-1).mean(axis=-1)}
    if own:
        queries, keys = array.shape[2:]
        offset = np.arange(keys)[None, :] - np.arange(queries)[:, None]
        counted = {"distance": abs(offset), "previous": offset == -1, "same": offset == 0, "next": offset == 1}
        found |= {name: (array * factor).sum(axis=-1).mean(axis=-1) for name, factor in counted.items()}
    return found


def _bytes(arrays: dict[str, np.ndarray], bits: int, top: int) -> float:
    count = sum(x.size // x.shape[-1] * min(2 * top, x.shape[-1]) if top else x.size for x in arrays.values())
    return count * bits / 8 * 4 / 3


def _text(tokens: list[str]) -> str:
    return "".join(token for token in tokens if token not in SPECIAL).replace("▁", " ").strip()


def _listed(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in sorted(shapes))
