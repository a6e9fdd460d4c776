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
        if training.consistency_share:
            sentences = 2 * sentences  # each batch is computed twice
        tokens = sentences * lengths
        floats = tokens * _floats_per_token(model) + self._attention_floats(sentences, lengths)
        if not self.is_packed:
            floats = floats * _PADDED
        if training.plain:
            floats = floats + _PLAIN_LOGITS * self.vocab_size * tokens
        d_ff = max(model.encoder.d_ff, model.decoder.d_ff)
        temporary = int(tokens.max()) * (2 * d_ff + 4 * model.d_model)  # gradients within one layer
        activations = int(_HOLES * _FLOAT * (float(floats.max()) + temporary))
        constant = _constant(self.config, self.vocab_size, self.ranks if self.config.training.sharding else 1)
        return StepMemory(constant, max(activations, _after_backward(self.config, self.vocab_size)))

    def _attention_floats(self, sentences: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Count numbers for attention besides its inputs: temporary memory of one layer, or the weights of all."""
        stacks = self.config.model.encoder, self.config.model.decoder
        if self.is_packed:
            heads = max(stack.heads for stack in stacks)
            parts = -(-sentences // np.clip(sentences // 8, 1, 8)) * np.where(sentences < 8, heads, 1)
            return parts * lengths * (max(3 * stack.d_k + 2 * stack.d_v for stack in stacks) + _SCRATCH_ROWS)
        heads = sum(attentions * stack.layers * stack.heads for stack, attentions in zip(stacks, (1, 2), strict=True))
        return _PLAIN_WEIGHTS * heads * sentences * lengths**2


def _floats_per_token(model: ModelConfig) -> int:
    """Count what is kept for a pair of a source and a target token.

    Each attention keeps its queries, keys, values and heads; each sub-layer the sum of its residual connection and its
    norm; each feed-forward network its inner layer.
    """
    width, is_relu = model.d_model, model.activation == "relu"
    layers = 0
    for stack, attentions in ((model.encoder, 1), (model.decoder, 2)):
        attention = stack.heads * (2 * stack.d_k + 2 * stack.d_v + 1) + 2 * width
        feed_forward = (1 if is_relu else 2) * stack.d_ff + 2 * width  # others keep the activation's input, too
        layers += stack.layers * (attentions * attention + feed_forward)
    embeddings = (4 if model.embedding_norm else 2) * width
    output = 2 * width  # with the gradient of the decoder's result
    return layers + embeddings + output


def _constant(config: Config, vocab_size: int, shards: int = 1) -> int:
    """Count bytes of weights, gradients, optimizer state, and of the loss's chunk of logits and packed embeddings.

    A rank that has one of several shards also has the whole embeddings and two whole layers at a time, with gradients.
    The first rank has a copy of the weights, with which it translates.
    """
    model, kind = config.model, config.training.optimizer
    matrices, weights = model.count_layer_weights(), model.count_weights(vocab_size)
    moments = _OPTIMIZER[kind] * matrices + _ADAM * (weights - matrices)
    rows = max(_MIN_CHUNK, _CHUNK_LOGITS // vocab_size)
    loss = _FLOAT * vocab_size * (rows + 2 * model.d_model)
    if shards == 1:
        return 2 * _FLOAT * weights + moments + loss
    gathered = weights - matrices + 2 * matrices // (model.encoder_layers + model.decoder_layers)
    return (2 * _FLOAT * weights + moments) // shards + 2 * _FLOAT * gathered + _FLOAT * weights + loss


def _after_backward(config: Config, vocab_size: int) -> int:
    """Count bytes needed when activations are freed: Muon's copies, or the compiled decoder of a validation."""
    model = config.model
    validation = 2 * _FLOAT * model.count_weights(vocab_size)
    if config.training.optimizer == "adam":
        return validation
    encoder, decoder = model.encoder, model.decoder
    square = 4 * model.d_model * (encoder.layers * encoder.heads * encoder.d_k)
    square += 4 * model.d_model * (2 * decoder.layers * decoder.heads * decoder.d_k)
    oblong = (encoder.layers * encoder.d_ff + decoder.layers * decoder.d_ff) * model.d_model
    return max(validation, _MUON_COPIES * _FLOAT * max(square, oblong))
