"""Units of the feed-forward networks: when they are active, and what they add to the residual stream.

FFN(x) = max(0, x W₁ + b₁) W₂ + b₂ (equation 2) is a sum over d_ff units. Unit u reads with column u of W₁. Its
activation h_u = max(0, x · W₁[:, u] + b₁[u]) multiplies row u of W₂, its output vector (Geva et al. 2021, "Transformer
Feed-Forward Layers Are Key-Value Memories"). Its contribution to a position is h_u times that vector, of length
|h_u| · ‖W₂[u]‖.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.insight.layers.states import States, chunks_of_pairs, record_states, token_pair
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.probe import Site
from allyouneed.model.transformer import Transformer
from allyouneed.translation.translator import Translator

STACKS = ("encoder", "decoder")
_BATCH_TOKENS = 512


class Units(NamedTuple):
    """Units of one layer for one sentence.

    Attributes:
        activations: h, shape [position, d_ff].
        lengths: ‖W₂[u]‖, the length of each unit's output vector, shape [d_ff].
    """

    activations: np.ndarray
    lengths: np.ndarray

    @property
    def contributions(self) -> np.ndarray:
        """Length of what each unit adds, |h_u| · ‖W₂[u]‖, shape [position, d_ff]."""
        return np.abs(self.activations) * self.lengths

    @property
    def active(self) -> np.ndarray:
        """Share of units with a positive activation, shape [position]; ReLU sets all others to exactly 0."""
        return (self.activations > 0).mean(axis=1)

    def strongest(self, count: int) -> list[int]:
        """Choose units: the one with the largest contribution at each position, then the second largest, and so on."""
        order = np.argsort(-self.contributions, axis=1, kind="stable")[:, :count]
        return list(dict.fromkeys(order.T.flatten().tolist()))[:count]


class Excitement(NamedTuple):
    """Where selected units of one layer are most active in a set of sentences, at most once per sentence.

    Attributes:
        sentences: Index of the sentence, shape [unit, place], in descending order of activation.
        positions: Position in it, in the same format.
        activations: Activation there, in the same format.
        active: Share of all units of the layer that are positive, averaged over all tokens.
        never: Number of units of the layer that are positive for no token.
    """

    sentences: np.ndarray
    positions: np.ndarray
    activations: np.ndarray
    active: float
    never: int


class WrittenTokens(NamedTuple):
    """Tokens whose output embeddings point in the direction of a unit's output vector, or in the opposite one.

    Attributes:
        ids: Token ids, shape [unit, token], most similar first.
        cosine: Cosine similarities, in the same format.
        opposed_ids: Token ids, most opposed first.
        opposed_cosine: Their similarities, which are negative.
    """

    ids: np.ndarray
    cosine: np.ndarray
    opposed_ids: np.ndarray
    opposed_cosine: np.ndarray


def feed_forward_units(translator: Translator, text: str, translation: str | None = None) -> dict[str, list[Units]]:
    """Compute the activation of every feed-forward unit for every token.

    Args:
        translator: Translator whose model is examined.
        text: Sentence in the source language.
        translation: Translation to examine; None for the model's own.

    Returns:
        Units of each layer of the "encoder" (positions: source tokens) and the "decoder" (its input tokens).

    Raises:
        UserError: If the text is empty, or a side is longer than the model's learned positions.
    """
    pair = token_pair(translator, text, translation)
    return units_of_states(translator.model, record_states(translator, [pair], "hidden"))


def units_of_states(model: Transformer, states: States) -> dict[str, list[Units]]:
    """Read the units of the first sentence from a recording of "hidden"."""
    return {
        stack: [
            Units(_array(states[_site(stack, layer)]["hidden"][0]), _array(network.outer.weight.norm(dim=0)))
            for layer, network in enumerate(networks(model, stack))
        ]
        for stack in STACKS
    }


def networks(model: Transformer, stack: str) -> list[FeedForward]:
    """List the feed-forward networks of the "encoder" or the "decoder"."""
    layers = model.encoder.layers if stack == "encoder" else model.decoder.layers
    return [layer.feed_forward for layer in layers]


def exciting_tokens(
    translator: Translator, pairs: Sequence[TokenPair], selected: Mapping[Site, Sequence[int]], places: int = 5
) -> dict[Site, Excitement]:
    """Find the tokens that excite units, over a set of sentence pairs.

    Args:
        translator: Translator whose model is examined.
        pairs: Sentence pairs; the decoder receives the given translations.
        selected: Units by stack ("encoder" or "decoder") and layer.
        places: Number of tokens per unit, at most the number of pairs.

    Returns:
        The tokens by stack and layer.
    """
    found = {site: _Maxima(units, pairs, site[0]) for site, units in selected.items()}
    for batch in chunks_of_pairs(pairs, _BATCH_TOKENS):
        states = record_states(translator, batch, "hidden")
        for (stack, layer), maxima in found.items():
            maxima.add(states[_site(stack, layer)]["hidden"])
    return {site: maxima.result(places) for site, maxima in found.items()}


@torch.inference_mode()
def written_tokens(
    model: Transformer, layer: int, units: Sequence[int], top: int = 5, opposed: int = 3
) -> WrittenTokens:
    """Compare the output vectors of a decoder layer's units with the rows of the pre-softmax linear.

    The gains of the norms that a vector passes are applied first: that of this sub-layer (norm "post"), and the final
    norm if there is one. Later layers are not taken into account.

    Args:
        model: The model.
        layer: Decoder layer, from 0.
        units: Units.
        top: Number of similar tokens.
        opposed: Number of tokens in the opposite direction.

    Returns:
        The tokens.
    """
    of_layer = model.decoder.layers[layer]
    norms = [*([of_layer.residuals[-1].norm] if model.config.norm == "post" else []), model.decoder.norm]
    vectors = of_layer.feed_forward.outer.weight[:, list(units)].T.float()
    for norm in norms:
        if isinstance(norm, nn.LayerNorm):
            vectors = vectors * norm.weight.float()
    rows = nn.functional.normalize(model.output.weight.float(), dim=-1)
    similarity = nn.functional.normalize(vectors, dim=-1) @ rows.T
    (cosine, ids), (low, low_ids) = similarity.topk(top), similarity.topk(opposed, largest=False)
    return WrittenTokens(*(x.cpu().numpy() for x in (ids, cosine, low_ids, low)))


class _Maxima:
    """Collects the largest activation of selected units in each sentence, batch by batch."""

    def __init__(self, units: Sequence[int], pairs: Sequence[TokenPair], stack: str):
        self.units = list(units)
        self.lengths = [len(pair.source) if stack == "encoder" else len(pair.target) + 1 for pair in pairs]
        self.values: list[Tensor] = []
        self.positions: list[Tensor] = []
        self.done, self.positive, self.tokens = 0, 0.0, 0
        self.ever: Tensor | None = None

    def add(self, hidden: Tensor) -> None:
        """Add a batch, hidden [batch, length, d_ff]."""
        lengths = torch.tensor(self.lengths[self.done : self.done + len(hidden)], device=hidden.device)
        is_token = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        positive = (hidden > 0) & is_token[..., None]
        ever = positive.flatten(0, 1).any(dim=0)
        self.ever = ever if self.ever is None else self.ever | ever
        self.positive += positive.float().mean(dim=-1).sum().item()
        self.tokens += int(lengths.sum())
        values, positions = hidden[..., self.units].masked_fill(~is_token[..., None], -torch.inf).max(dim=1)
        self.values.append(values.float())
        self.positions.append(positions)
        self.done += len(hidden)

    def result(self, places: int) -> Excitement:
        values, positions = torch.cat(self.values), torch.cat(self.positions)  # [sentence, unit]
        best, sentences = values.topk(min(places, len(values)), dim=0)
        at = positions.gather(0, sentences)
        never = 0 if self.ever is None else int((~self.ever).sum())
        return Excitement(_array(sentences.T), _array(at.T), _array(best.T), self.positive / self.tokens, never)


def _site(stack: str, layer: int) -> Site:
    return (f"{stack} feed-forward", layer)


def _array(x: Tensor) -> np.ndarray:
    return (x.float() if x.is_floating_point() else x).detach().cpu().numpy()
