"""What a training step's cost depends on: its sizes, the sweeps that let one of them grow, and what theory says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from allyouneed.config import Config, load_recipe
from allyouneed.training.size import training_flops

Sweeps = Mapping[str, Sequence[int]]

_PER_HEAD = 32  # units, when the width grows
_QUINTICS = 4  # of training/optimizer.py

SWEEPS: Sweeps = {
    "tokens": [2**i for i in range(9, 16)],
    "length": [2**i for i in range(4, 11)],
    "vocabulary": [1000 * 2**i for i in range(7)],
    "width": [2**i for i in range(6, 11)],
    "depth": [2**i for i in range(5)],
}
MEANING = {
    "tokens": "tokens a batch, on each side",
    "length": "tokens a sentence, as many a batch",
    "vocabulary": "words",
    "width": "d_model, with d_ff = 4 d_model, d_k = 32",
    "depth": "layers of the encoder, as of the decoder",
}
THEORY = {
    "tokens": "1, beside the optimizer's time and the weights' memory",
    "length": "time from 0 to 1: attention's part grows, the rest stays; memory 0",
    "vocabulary": "1, beside the layers' part",
    "width": "time 1 to 2, Muon's own products 3; memory 1 to 2",
    "depth": "1, beside the words' part",
}


@dataclass(frozen=True)
class Sizes:
    """Of one step on sentences without padding, as in recipe `tiny` unless given. length: in tokens, the end included;
    tokens: of each side; layers: of the encoder, as of the decoder."""

    tokens: int = 4096
    length: int = 16  # Multi30k's mean is 15
    words: int = 10_000
    d_model: int = 128
    d_ff: int = 256
    heads: int = 4
    layers: int = 4

    def grown(self, sweep: str, value: int) -> Sizes:
        """With another value of what this sweep is about."""
        if sweep == "length":
            return replace(self, length=value, tokens=max(self.tokens, value))
        if sweep == "width":
            return replace(self, d_model=value, d_ff=4 * value, heads=max(1, value // _PER_HEAD))
        return replace(self, **{{"tokens": "tokens", "vocabulary": "words", "depth": "layers"}[sweep]: value})

    def settings(self) -> list[str]:
        """For `Config.override`."""
        model = {"d_model": self.d_model, "d_ff": self.d_ff, "num_heads": self.heads}
        model |= {"encoder_layers": self.layers, "decoder_layers": self.layers}
        return [f"model.{name}={value}" for name, value in model.items()]

    def config(self) -> Config:
        return load_recipe("tiny").override(self.settings())

    def operations(self) -> float:
        """Floating-point operations of a step's matrix products: of the weights, of attention, of Muon."""
        of_weights = self.tokens * training_flops(self.config().model, self.words)
        return of_weights + self._attention_operations() + self._muon_operations()

    def _attention_operations(self) -> float:
        """Two products of length² · d_model a sentence, and twice as many backward; where the future is hidden, half.

        Two and a half attentions a layer: the encoder's, the decoder's half, and the one between them.
        """
        return 2.5 * self.layers * 12.0 * self.tokens * self.length * self.d_model

    def _muon_operations(self) -> float:
        """Three products an iteration for each matrix of the layers, however many tokens there were."""
        square, oblong = 12 * self.layers, 4 * self.layers  # in an encoder's layer and a decoder's
        return _iteration(self.d_model, self.d_model) * square + _iteration(self.d_model, self.d_ff) * oblong


def _iteration(rows: int, columns: int) -> float:
    """Operations of Muon on one matrix: a gram matrix, its square, and their sum times the matrix."""
    short, long = sorted((rows, columns))
    return _QUINTICS * (4.0 * short**2 * long + 2.0 * short**3)
