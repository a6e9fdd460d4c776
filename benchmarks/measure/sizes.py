"""Sizes that determine the cost of a training step, sweeps that grow one of them, and the theoretical exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from allyouneed.config import Config, load_recipe
from allyouneed.training.planning.memory_estimate import LargestStep
from allyouneed.training.resolution.size import training_flops

Sweeps = Mapping[str, Sequence[int]]

_QUINTICS = 4  # of training/optimizer.py

SWEEPS: Sweeps = {
    "tokens": [2**i for i in range(9, 16)],
    "length": [2**i for i in range(4, 13)],
    "vocabulary": [1000 * 2**i for i in range(7)],
    "width": [2**i for i in range(6, 11)],
    "depth": [2**i for i in range(5)],
}
BASE_SWEEPS: Sweeps = {
    "tokens": [2**i for i in range(9, 13)],
    "length": [64, 256, 1024, 2048, 4096],
    "vocabulary": [1000 * 2**i for i in range(2, 7)],
    "width": [2**i for i in range(7, 11)],
    "depth": [2**i for i in range(4)],
}
MEANING = {
    "tokens": "tokens per batch, on each side",
    "length": "tokens per sentence, constant batch size",
    "vocabulary": "vocabulary size",
    "width": "d_model, with d_ff = 4 d_model and the same d_k",
    "depth": "layers of encoder and decoder each",
}
THEORY = {
    "tokens": "1, plus the optimizer's time and the weights' memory",
    "length": "time 0 to 1: only attention grows; memory 0",
    "vocabulary": "1, plus the layers' share",
    "width": "time 1 to 2, Muon's products 3; memory 1 to 2",
    "depth": "1, plus the share of embeddings and output layer",
}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training step on sentences without padding; the defaults are those of recipe `tiny`.

    Attributes:
        recipe: Recipe with the other settings.
        tokens: Tokens per batch on each side.
        length: Tokens per sentence, including the end token.
        vocab_size: Size of the joint vocabulary.
        d_model: Width of the model.
        d_ff: Width of the feed-forward networks.
        heads: Number of attention heads.
        layers: Layers of encoder and decoder each.
        length_tokens: Tokens per batch while the length grows.
    """

    recipe: str = "tiny"
    tokens: int = 4096
    length: int = 16  # Multi30k's mean is 15
    vocab_size: int = 10_000
    d_model: int = 128
    d_ff: int = 256
    heads: int = 4
    layers: int = 4
    length_tokens: int = 4096

    def grown(self, sweep: str, value: int) -> Sizes:
        """Return the sizes with the size of a sweep set to `value`."""
        if sweep == "length":
            return replace(self, length=value, tokens=max(self.length_tokens, value))
        if sweep == "width":
            return replace(self, d_model=value, d_ff=4 * value, heads=max(1, value * self.heads // self.d_model))
        return replace(self, **{{"tokens": "tokens", "vocabulary": "vocab_size", "depth": "layers"}[sweep]: value})

    def model_settings(self) -> dict[str, int]:
        """Return the model settings for `Config.replace`."""
        model = {"d_model": self.d_model, "d_ff": self.d_ff, "num_heads": self.heads}
        model |= {"encoder_layers": self.layers, "decoder_layers": self.layers}
        return model

    def config(self) -> Config:
        return load_recipe(self.recipe).replace(model=self.model_settings())

    def estimated_memory(self) -> int:
        """Estimate the peak memory of a step in bytes, as training does to choose the number of micro-batches."""
        tokens = max(1, self.tokens // self.length) * self.length
        config = self.config().replace(training={"batch_tokens": tokens})
        return LargestStep(config, self.vocab_size, self.length).memory(parts=1).total

    def operations(self) -> float:
        """Count the floating-point operations of a step's matrix products: weights, attention and Muon."""
        config = self.config()
        weights = self.tokens * training_flops(config.model, self.vocab_size)
        muon = self._muon_operations() if config.training.optimizer == "muon" else 0.0
        return weights + self._attention_operations() + muon

    def _attention_operations(self) -> float:
        """Count two products of length² · d_model per sentence, twice as many backward, and half with a future mask.

        Each layer has 2.5 attentions: encoder self-attention, encoder-decoder attention and half for the decoder.
        """
        return 2.5 * self.layers * 12.0 * self.tokens * self.length * self.d_model

    def _muon_operations(self) -> float:
        """Count three products per iteration for each matrix of the layers, independent of the tokens."""
        square, oblong = 12 * self.layers, 4 * self.layers  # in an encoder layer and a decoder layer together
        return muon_operations(self.d_model, self.d_model) * square + muon_operations(self.d_model, self.d_ff) * oblong


BASE = Sizes(
    "base", tokens=1024, length=64, vocab_size=37_000, d_model=512, d_ff=2048, heads=8, layers=6, length_tokens=4096
)
STUDIES: Mapping[str, tuple[Sizes, Sweeps]] = {"tiny": (Sizes(), SWEEPS), "base": (BASE, BASE_SWEEPS)}


def muon_operations(rows: int, columns: int) -> float:
    """Count Muon's operations on one matrix: the Gram matrix, its square, and their sum times the matrix."""
    short, long = sorted((rows, columns))
    return _QUINTICS * (4.0 * short**2 * long + 2.0 * short**3)
