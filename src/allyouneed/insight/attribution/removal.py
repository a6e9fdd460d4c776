"""The model as a function of how much of each token it sees: the basis of attribution and of the deletion test.

A factor multiplies the content of a token, embedding · √d_model; its position keeps its encoding. With factor 1 a token
is as it is, with factor 0 its content is removed. The factors of a row are those of the source, then of the decoder's
input. Integrated gradients are derivatives along factors from 0 to 1; a deletion sets factors to 0.

Dimensions: rows: inputs that differ in their factors; source, target: positions; d_model: width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.model.embedding import Embedding
from allyouneed.model.masks import future_mask
from allyouneed.model.transformer import Transformer

_BATCH_TOKENS = 640  # tokens of a batch of rows


class Question(NamedTuple):
    """Why token `candidate` and not token `instead_of` after the decoder's input up to and including `position`?"""

    position: int
    candidate: int
    instead_of: int


class PartialInputs:
    """The log-probability differences of a model for one sentence pair whose tokens are seen in part.

    The reference implementation computes them, on a copy of the modules that shares the weights: gradients are those of
    the factors only, and the model is neither changed nor given gradients.

    Args:
        model: Model to examine.
        source: Source ids with EOS.
        target: The decoder's input, from BOS on.
    """

    def __init__(self, model: Transformer, source: Sequence[int], target: Sequence[int]):
        self.model, device = plain_copy(model), model.output.weight.device
        self.source, self.target = (torch.tensor([list(ids)], device=device) for ids in (source, target))

    @property
    def length(self) -> int:
        """Number of factors of a row."""
        return self.source.shape[1] + self.target.shape[1]

    def up_to(self, position: int) -> PartialInputs:
        """Return the same pair without the decoder's inputs after `position`, which cannot change its prediction."""
        shorter = copy.copy(self)
        shorter.target = self.target[:, : position + 1]
        return shorter

    def states(self, factors: Tensor, hidden: bool = False) -> Tensor:
        """Compute the input of the pre-softmax linear.

        Args:
            factors: Shape [rows, source + target].
            hidden: Also hide keys with factor 0 from every attention.

        Returns:
            Shape [rows, target, d_model].
        """
        model, size = self.model, self.source.shape[1]
        source, target = factors[:, :size], factors[:, size:]
        mask = future_mask(target.shape[1], factors.device) & _seen(target, hidden)
        memory, memory_mask = self._memory(source, hidden), self._source_mask(source, hidden)
        return model.decoder(_scaled(model.target_embedding, self.target, target), memory, mask, memory_mask)

    def differences(self, states: Tensor, question: Question) -> Tensor:
        """Compute log p(candidate) - log p(instead_of), the difference of two logits, for each row. -> [rows]."""
        output, (position, one, other) = self.model.output, question
        found = states[:, position] @ (output.weight[one] - output.weight[other])
        return found if output.bias is None else found + output.bias[one] - output.bias[other]

    @torch.no_grad()
    def evaluate(self, factors: np.ndarray, questions: Sequence[Question], hidden: bool = False) -> np.ndarray:
        """Compute the differences for rows of factors.

        Args:
            factors: Shape [rows, source + target].
            questions: Questions about this pair.
            hidden: As in `states`.

        Returns:
            Shape [rows, questions], in nats.
        """
        found = []
        distinct, rows = np.unique(factors, axis=0, return_inverse=True)
        for batch in self.batches(distinct):
            states = self.states(batch, hidden)
            found.append(torch.stack([self.differences(states, each) for each in questions], dim=1))
        return torch.cat(found).double().cpu().numpy()[rows.reshape(-1)]

    def batches(self, factors: np.ndarray) -> Iterator[Tensor]:
        """Split rows of factors into tensors of limited size."""
        rows = max(1, _BATCH_TOKENS // self.length)
        for start in range(0, len(factors), rows):
            part = factors[start : start + rows]
            yield torch.tensor(part, dtype=self.model.output.weight.dtype, device=self.source.device)

    def _memory(self, factors: Tensor, hidden: bool) -> Tensor:
        """Encode the source for rows of factors [rows, source]; without gradients, equal rows are encoded once."""
        embedding, encoder = self.model.source_embedding, self.model.encoder
        if factors.requires_grad:
            return encoder(_scaled(embedding, self.source, factors), self._source_mask(factors, hidden))
        distinct, rows = factors.unique(dim=0, return_inverse=True)
        return encoder(_scaled(embedding, self.source, distinct), self._source_mask(distinct, hidden))[rows]

    def _source_mask(self, factors: Tensor, hidden: bool) -> Tensor:
        """Make the mask of source keys, without the end if the model does not see it. -> [rows, 1, 1, source]."""
        return _seen(factors, hidden) & self.model.source_mask(self.source)


def plain_copy(model: Transformer) -> Transformer:
    """Copy a model's modules as a reference implementation in evaluation mode; the copy shares the weights."""
    shared: dict[int, Any] = {id(x): nn.Parameter(x.detach(), requires_grad=False) for x in model.parameters()}
    copied = copy.deepcopy(model, shared).eval()
    for module in copied.modules():
        if hasattr(module, "plain"):
            module.plain = True  # type: ignore[assignment]  # nn.Module declares no attributes
    return copied


def _seen(factors: Tensor, hidden: bool) -> Tensor:
    """Make a mask of keys: [rows, key] -> [rows, 1, 1, key]."""
    seen = factors != 0 if hidden else torch.ones_like(factors, dtype=torch.bool)
    return seen[:, None, None, :]


def _scaled(embedding: Embedding, ids: Tensor, factors: Tensor) -> Tensor:
    """Embed ids [1, length] with factors [rows, length]. -> [rows, length, d_model]."""
    content = embedding.tokens(ids) * embedding.scale
    embedded: Tensor = embedding.norm(factors[..., None] * content + embedding.position_encodings(0, ids.shape[1]))
    return embedded
