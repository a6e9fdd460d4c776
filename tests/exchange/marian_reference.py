"""A reference implementation in NumPy of Marian's `--type transformer-new`, from its sources (marian-dev 1.12)."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml


class MarianModel:
    """A model file, computed in float64."""

    def __init__(self, path: Path):
        with zipfile.ZipFile(path) as archive:
            # Marian's reader knows neither compression, ZIP64 nor Fortran order.
            assert all(entry.compress_type == zipfile.ZIP_STORED and not entry.extra for entry in archive.infolist())
            assert not any(b"'fortran_order': True" in archive.read(name)[:200] for name in archive.namelist())
        arrays = dict(np.load(path))
        self.options = yaml.safe_load(arrays.pop("special:model.yml").tobytes().rstrip(b"\0").decode())
        self.tensors: Mapping[str, np.ndarray] = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.used: set[str] = set()

    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        """Compute the logits after no target token, after the first, and so on, [len(target) + 1, vocabulary]."""
        option = self.options
        shared = option["tied-embeddings-all"] or option["tied-embeddings-src"]
        names = [("Wemb" if shared else f"{side}_Wemb") for side in ("encoder", "decoder")]
        encoder, decoder = "TransformerBatchEncoder->encoder", "TransformerBatchDecoder->decoder"
        x = self._embedded(self[names[0]][source], encoder)
        for n in range(option["enc-depth"]):
            layer = f"{encoder}->layers->at({n})->as<marian::nn::TransformerEncoderLayer>()"
            x = self._block(
                x, f"{layer}->selfAttentionBlock", lambda y, name: self._attention(y, y, f"{name}->selfAttention")
            )
            x = self._block(x, f"{layer}->filterBlock", self._filter)
        memory = self._norm(x, f"{encoder}->postprocessor->norm", option["transformer-postprocess-top"])
        inputs = np.concatenate([np.zeros((1, x.shape[1])), self[names[1]][target]])
        x = self._embedded(inputs, decoder)
        for n in range(option["dec-depth"]):
            layer = f"{decoder}->layers->at({n})->as<marian::nn::TransformerDecoderLayerWithCrossAttention>()"
            x = self._block(
                x,
                f"{layer}->autoRegressiveBlock",
                lambda y, name: self._attention(y, y, f"{name}->selfAttention", True),
            )
            x = self._block(
                x,
                f"{layer}->crossAttentionBlock",
                lambda y, name: self._attention(y, memory, f"{name}->crossAttention"),
            )
            x = self._block(x, f"{layer}->filterBlock", self._filter)
        x = self._norm(x, f"{decoder}->postprocessor->norm", option["transformer-postprocess-top"])
        tied = option["tied-embeddings-all"] or option["tied-embeddings"]
        logits = x @ (self[names[1]] if tied else self["decoder_ff_logit_out_Wt"]).T
        return logits if option["output-omit-bias"] else logits + self["decoder_ff_logit_out_b"]

    def __getitem__(self, name: str) -> np.ndarray:
        self.used.add(name)
        return self.tensors[name]

    def _embedded(self, x: np.ndarray, stack: str) -> np.ndarray:
        x = x + self[f"{stack}->positionEmbedding->embeddings"][: len(x)]
        return self._norm(x, f"{stack}->preprocessor->norm", self.options["transformer-postprocess-emb"])

    def _block(self, x, name, compute):
        before, after = self.options["transformer-preprocess"], self.options["transformer-postprocess"]
        y = compute(self._norm(x, f"{name}->preprocessor->norm", before), name) + x
        return self._norm(y, f"{name}->postprocessor->norm", after)

    def _norm(self, x, name, operations):
        if "n" not in operations:
            return x
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * self[f"{name}->weight"] + self[f"{name}->bias"]

    def _linear(self, x, name):
        return x @ self[f"{name}->weight"] + self[f"{name}->bias"]

    def _filter(self, x, name):
        kind = self.options["transformer-ffn-activation"]
        if kind == "relu":
            x = np.maximum(0, self._linear(x, f"{name}->layers->at(0)->as<marian::nn::LinearReluDropout>()"))
            return self._linear(x, f"{name}->layers->at(1)->as<marian::nn::Linear>()")
        x = self._linear(x, f"{name}->layers->at(0)->as<marian::nn::Linear>()")
        x = x / (1 + np.exp(-x)) if kind == "swish" else 0.5 * x * (1 + _erf(x / np.sqrt(2)))
        return self._linear(x, f"{name}->layers->at(3)->as<marian::nn::Linear>()")

    def _attention(self, x, memory, name, causal=False):
        heads, width = self.options["transformer-heads"], self.options["dim-emb"] // self.options["transformer-heads"]
        q, k, v = (
            self._linear(y, f"{name}->{part}Proj").reshape(len(y), heads, width).transpose(1, 0, 2)
            for part, y in (("q", x), ("k", memory), ("v", memory))
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(width)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self._linear((weights @ v).transpose(1, 0, 2).reshape(len(x), heads * width), f"{name}->oProj")


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(x)
