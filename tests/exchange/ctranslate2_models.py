"""CTranslate2 models with random weights, in shapes of the systems that it converts from, written by its package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from tests.conftest import toy_pairs

D_MODEL, D_FF, HEADS = 32, 48, 4

SHAPES: dict[str, dict[str, Any]] = {
    "OpenNMT-py: pre-norm, the paper's table, no end of the source": {"pre_norm": True, "table": "paper"},
    "OpenNMT-tf: CTranslate2's own sinusoids, biases": {"pre_norm": True, "biases": True},
    "fairseq: post-norm, starts from the end token": {"table": "fairseq", "start": "</s>", "source_end": True},
    "Marian: zero start, swish, no padding": {
        "table": "marian", "zero_start": True, "activation": 2, "biases": True, "padding": False, "source_end": True,
    },
    "BART: learned positions, norm of embeddings, GELU": {
        "table": "learned", "embedding_norm": True, "activation": 3, "start": "</s>", "scale": 1.0, "biases": True,
    },
    "M2M-100: pre-norm, fairseq's table, tied": {"pre_norm": True, "table": "fairseq", "start": "</s>", "tied": True},
    "two vocabularies, different depths, heads and widths": {
        "separate": True, "layers": (1, 3), "heads": (2, 4), "d_ff": (48, 24), "table": "paper",
    },
    "factors of embeddings, output and scores": {"scale": 2.5, "output_scale": 0.5, "queries_scale": 0.3, "tied": True},
    "no biases at all, another epsilon": {"no_feed_forward_bias": True, "epsilon": 1e-3, "activation": 1},
    "pre-norm without final norms": {"pre_norm": True, "no_final_norm": True, "activation": 4},
    "narrow heads and excluded tokens": {"narrow": 5, "excluded": True, "pre_norm": True, "table": "paper"},
}  # fmt: skip


def write_model(folder: Path, quantization: str | None = None, seed: int = 5, **shape: Any) -> None:
    """Write a model's folder, with the SentencePiece model of its subwords."""
    spec, rng = _spec(shape), np.random.default_rng(seed)
    texts = [text for pair in toy_pairs(60) for text in pair]
    tokenizer = learn_tokenizer(texts, 300)
    pieces = tokenizer.pieces(range(4, len(tokenizer)))
    specials = ["<s>", *(["<pad>"] if shape.get("padding", True) else []), "</s>", "<unk>"]
    source = [*specials, *pieces]
    target = [*specials, *pieces[:-7]] if shape.get("separate") else source
    _fill(spec, shape, (len(source), len(target)), rng)
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.decoder_start_token = shape.get("start", "<s>")
    spec.config.add_source_eos = shape.get("source_end", False)
    spec.config.layer_norm_epsilon = shape.get("epsilon")
    save(spec, folder, quantization)
    (folder / "sentencepiece.model").write_bytes(tokenizer.model)


def save(spec: Any, folder: Path, quantization: str | None = None) -> None:
    """Write a specification as CTranslate2's converters do."""
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _spec(shape: dict[str, Any]) -> Any:
    from ctranslate2 import specs

    layers, heads = shape.get("layers", (2, 2)), shape.get("heads", (HEADS, HEADS))
    common = {
        "pre_norm": shape.get("pre_norm", False),
        "no_final_norm": shape.get("no_final_norm", False),
        "activation": specs.Activation(shape.get("activation", 0)),
        "layernorm_embedding": shape.get("embedding_norm", False),
    }
    encoder = specs.TransformerEncoderSpec(layers[0], heads[0], **common)
    return specs.TransformerSpec(encoder, specs.TransformerDecoderSpec(layers[1], heads[1], **common))


def _fill(spec: Any, shape: dict[str, Any], sizes: tuple[int, int], rng: np.random.Generator) -> None:
    matrices = [rng.standard_normal((size, D_MODEL)).astype(np.float32) * D_MODEL**-0.5 for size in (*sizes, sizes[1])]
    if shape.get("tied"):
        matrices = [matrices[0]] * 3
    else:
        matrices[2] *= np.float32(2.5)
    for side, matrix, inner in zip(
        (spec.encoder, spec.decoder), matrices, shape.get("d_ff", (D_FF, D_FF)), strict=False
    ):
        (side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings).weight = matrix
        side.scale_embeddings = shape.get("scale", True)
        table = position_table(shape.get("table"))
        if table is not None:
            side.position_encodings.encodings = table if shape["table"] != "learned" else rng.permuted(table, axis=1)
        for name in ("layer_norm", "layernorm_embedding"):
            if hasattr(side, name):
                _norm(getattr(side, name), rng)
        for layer in side.layer:
            for attention in filter(None, (layer.self_attention, getattr(layer, "attention", None))):
                _attention(attention, shape, rng)
            _norm(layer.ffn.layer_norm, rng)
            for linear, size in ((layer.ffn.linear_0, (inner, D_MODEL)), (layer.ffn.linear_1, (D_MODEL, inner))):
                _linear(linear, size, rng, not shape.get("no_feed_forward_bias"))
    spec.decoder.start_from_zero_embedding = shape.get("zero_start", False)
    if "output_scale" in shape:
        spec.decoder.scale_outputs = shape["output_scale"]
    spec.decoder.projection.weight = matrices[2]
    bias = rng.standard_normal(sizes[1]).astype(np.float32) * np.float32(shape.get("biases", 0))
    bias[1 + shape.get("padding", True)] = shape.get("end", 6)  # translations end
    if shape.get("excluded"):
        bias[[0, 1, 3]] = -1e4
    spec.decoder.projection.bias = bias
    if shape.get("bare"):  # as before revision 3
        for side in (spec.encoder, spec.decoder):
            for name, value in list(side.__dict__.items()):
                if isinstance(value, np.generic | bool) and not name.startswith("_"):
                    delattr(side, name)


def _attention(spec: Any, shape: dict[str, Any], rng: np.random.Generator) -> None:
    _norm(spec.layer_norm, rng)
    rows = [3, 1] if len(spec.linear) == 2 else [1, 2, 1]
    for linear, parts in zip(spec.linear, rows, strict=True):
        _linear(linear, (parts * D_MODEL, D_MODEL), rng, shape.get("biases", False))
    if narrow := shape.get("narrow"):
        for linear in spec.linear[:-1]:
            linear.weight.reshape(-1, D_MODEL // HEADS, D_MODEL)[:, narrow:] = 0
        spec.linear[-1].weight.reshape(D_MODEL, -1, D_MODEL // HEADS)[..., narrow:] = 0
        spec.queries_scale = narrow**-0.5
    if "queries_scale" in shape:
        spec.queries_scale = shape["queries_scale"]


def _linear(spec: Any, size: tuple[int, int], rng: np.random.Generator, has_bias: bool) -> None:
    spec.weight = rng.standard_normal(size).astype(np.float32) * (2 / sum(size)) ** 0.5
    if has_bias:
        spec.bias = rng.standard_normal(size[0]).astype(np.float32) * np.float32(0.1)


def _norm(spec: Any, rng: np.random.Generator) -> None:
    spec.gamma = 1 + rng.standard_normal(D_MODEL).astype(np.float32) * np.float32(0.1)
    spec.beta = rng.standard_normal(D_MODEL).astype(np.float32) * np.float32(0.1)


def position_table(kind: str | None, length: int = 128) -> np.ndarray | None:
    """Position encodings as the named system computes them, in fp32."""
    half = D_MODEL // 2
    if kind is None:
        return None
    if kind in ("fairseq", "tensor2tensor"):
        positions, step = np.arange(2, length + 2, dtype=np.float32), math.log(10000) / (half - 1)
    else:
        positions, step = np.arange(length, dtype=np.float32), math.log(10000) / half
    angles = positions[:, None] * np.exp(np.arange(half, dtype=np.float32) * np.float32(-step))[None]
    halves = np.sin(angles), np.cos(angles)
    return np.stack(halves, 2).reshape(length, -1) if kind in ("paper", "learned") else np.concatenate(halves, 1)
