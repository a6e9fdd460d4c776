"""Estimate of the memory that a training step needs, from the sizes of the model and of its largest micro-batch.

The estimate counts what autograd keeps for the backward pass. On the CPU's packed path, these are the matrices named
below, per token: `benchmarks/training.py growth` compares it with measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from allyouneed.config import Config, ModelConfig

_FLOAT = 4  # bytes
_HOLES = 1.1  # memory that the C library does not use again, in relation to activations: measured 1.0
_OPTIMIZER = {"adam": 8, "muon": 4}  # bytes of moments per weight of a layer's matrix
_ADAM = 8  # bytes of moments of embeddings, whichever optimizer the matrices have
_MUON_COPIES = 6  # of all matrices of one shape, while they are orthogonalised
_CHUNK_LOGITS, _MIN_CHUNK = 2_000_000, 256  # of training/loss.py
_PLAIN_LOGITS = 5  # copies of all logits in the reference implementation
_PLAIN_WEIGHTS = 4  # copies of attention weights in the reference implementation
_SCRATCH_ROWS = 32  # of kernels/attention_backward.py
_PADDED = 1.4  # matrices of padded batches in PyTorch, compared with packed ones: masks and copies of heads
_SAMPLED = 1.5  # length of sentences segmented at random, compared with the stored segmentation


class StepMemory(NamedTuple):
    """Memory of a training step in bytes, besides that of the process before.

    Attributes:
        constant: Weights, gradients, optimizer state and buffers.
        activations: What the largest micro-batch keeps for its backward pass.
    """

    constant: int
    activations: int

    @property
    def total(self) -> int:
        return self.constant + self.activations


@dataclass(frozen=True)
class LargestStep:
    """The training step that needs most memory.

    Attributes:
        config: Settings of the run.
        vocab_size: Size of the target vocabulary.
        longest: Tokens of the longest sentence of either side, including its end.
        ranks: Number of processes that share each batch.
        is_packed: Whether batches are packed (`packed_forward.packs`). Otherwise attention keeps its weights.
    """

    config: Config
    vocab_size: int
    longest: int
    ranks: int = 1
    is_packed: bool = True

    def memory(self, parts: int) -> StepMemory:
        """Estimate the peak memory of a process if batches are processed in this number of parts."""
        model, training, data = self.config.model, self.config.training, self.config.data
        stretch = _SAMPLED if data.subword_sampling else 1.0
        lengths = np.arange(1, max(1, round(stretch * self.longest)) + 1, dtype=np.int64)
        in_batch = np.maximum(1, round(stretch * training.batch_tokens) // lengths)  # sentences of one length
        sentences = -(-in_batch // (parts * self.ranks))
        tokens = sentences * lengths
        floats = tokens * _floats_per_token(model) + self._attention_floats(sentences, lengths)
        if not self.is_packed:
            floats = floats * _PADDED
        if training.plain:
            floats = floats + _PLAIN_LOGITS * self.vocab_size * tokens
        temporary = int(tokens.max()) * (2 * model.d_ff + 4 * model.d_model)  # gradients within one layer
        activations = int(_HOLES * _FLOAT * (float(floats.max()) + temporary))
        constant = _constant(self.config, self.vocab_size)
        return StepMemory(constant, max(activations, _after_backward(self.config, self.vocab_size)))

    def _attention_floats(self, sentences: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Count numbers for attention besides its inputs: temporary memory of one layer, or the weights of all."""
        model = self.config.model
        if self.is_packed:
            parts = -(-sentences // np.clip(sentences // 8, 1, 8)) * np.where(sentences < 8, model.num_heads, 1)
            return parts * lengths * (3 * model.key_size + 2 * model.value_size + _SCRATCH_ROWS)
        layers = model.encoder_layers + 2 * model.decoder_layers
        return _PLAIN_WEIGHTS * layers * model.num_heads * sentences * lengths**2


def _floats_per_token(model: ModelConfig) -> int:
    """Count what is kept for a pair of a source and a target token.

    Each attention keeps its queries, keys, values and heads; each sub-layer the sum of its residual connection and its
    norm; each feed-forward network its inner layer.
    """
    width, heads = model.d_model, model.num_heads
    attention = heads * (2 * model.key_size + 2 * model.value_size + 1) + 2 * width
    feed_forward = model.d_ff + 2 * width
    embeddings, output = 2 * width, 2 * width  # with the gradient of the decoder's result
    layers = model.encoder_layers * (attention + feed_forward)
    return layers + model.decoder_layers * (2 * attention + feed_forward) + embeddings + output


def _constant(config: Config, vocab_size: int) -> int:
    """Count bytes of weights, gradients, optimizer state, and of the loss's chunk of logits and packed embeddings."""
    model, kind = config.model, config.training.optimizer
    matrices, weights = model.count_layer_weights(), model.count_weights(vocab_size)
    moments = _OPTIMIZER[kind] * matrices + _ADAM * (weights - matrices)
    rows = max(_MIN_CHUNK, _CHUNK_LOGITS // vocab_size)
    loss = _FLOAT * vocab_size * (rows + 2 * model.d_model)
    return 2 * _FLOAT * weights + moments + loss


def _after_backward(config: Config, vocab_size: int) -> int:
    """Count bytes needed when activations are freed: Muon's copies, or the compiled decoder of a validation."""
    model = config.model
    validation = 2 * _FLOAT * model.count_weights(vocab_size)
    if config.training.optimizer == "adam":
        return validation
    square = (model.encoder_layers + 2 * model.decoder_layers) * 4 * model.d_model * model.num_heads * model.key_size
    oblong = (model.encoder_layers + model.decoder_layers) * model.d_ff * model.d_model
    return max(validation, _MUON_COPIES * _FLOAT * max(square, oblong))
