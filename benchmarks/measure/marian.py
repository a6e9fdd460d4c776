"""Write a bundle as a native Marian model, so that Marian translates with exactly our weights.

Only Marian's newer Transformer, `--type transformer-new`, computes our model. The sinusoids of `--type transformer`
have other frequencies, and its decoder starts from a zero embedding instead of that of BOS; the newer one reads a table
of positions for each side. Marian adds these to embeddings that it does not scale, so they are stored scaled by
√d_model, the decoder's last norm divides by it, and the decoder's first position includes BOS. Its vocabulary has no
padding and no BOS. Its norm adds 1e-6 to the variance, ours 1e-5. There is no int8: `marian convert` quantizes only the
matrices of `--type transformer`.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor

from allyouneed.bundle import Bundle, weights_of
from allyouneed.data.tokens.tokenizer import BOS, EOS, UNK
from benchmarks.peers.translator import sinusoids

POSITIONS = 1024  # also Marian's --max-length
_CLASSES = {"encoder": "TransformerEncoderLayer", "decoder": "TransformerDecoderLayerWithCrossAttention"}
_ATTENTIONS = {
    "encoder": {"self_attention": "selfAttentionBlock->selfAttention"},
    "decoder": {
        "self_attention": "autoRegressiveBlock->selfAttention",
        "cross_attention": "crossAttentionBlock->crossAttention",
    },
}
_LINEARS = {"query": "qProj", "key": "kProj", "value": "vProj", "output": "oProj"}
_FILTERS = {
    "inner": "filterBlock->layers->at(0)->as<marian::nn::LinearReluDropout>()",
    "outer": "filterBlock->layers->at(1)->as<marian::nn::Linear>()",
}


def store_marian(bundle: Bundle, folder: Path) -> Path:
    """Write model.npz and vocabulary.yml, where token i is named "wi".

    Args:
        bundle: A model that `peers.check_architecture` accepts.
        folder: The new folder.

    Returns:
        The folder.

    Raises:
        ValueError: If the model is post-norm.
    """
    config, weights = bundle.config.model, dict(weights_of(bundle.model))
    if config.norm != "pre":
        raise ValueError("Marian: only pre-norm models are supported here")
    root = math.sqrt(config.d_model)
    embedding = weights["source_embedding.tokens.weight"] * root
    order = [EOS, UNK, *range(EOS + 1, len(embedding))]
    tensors = {"Wemb": embedding[order]}
    for side, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        theirs = f"TransformerBatch{side.title()}->{side}"
        positions = sinusoids(POSITIONS, config.d_model)
        if side == "decoder":
            positions[0] += embedding[BOS]
        tensors[f"{theirs}->positionEmbedding->embeddings"] = positions
        for layer in range(count):
            name = f"{theirs}->layers->at({layer})->as<marian::nn::{_CLASSES[side]}>()"
            tensors |= _layer(weights, f"{side}.layers.{layer}", name, _ATTENTIONS[side])
        scale = root if side == "decoder" else 1.0
        tensors |= _norm(weights, f"{side}.norm", f"{theirs}->postprocessor->norm", scale)
    names = ["</s>", "<unk>", *(f"w{i}" for i in order[2:])]
    options = json.dumps(_options(bundle, len(names))).encode() + b"\0"  # JSON is YAML, too
    arrays = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
    folder.mkdir()
    _save(folder / "model.npz", {**arrays, "special:model.yml": np.frombuffer(options, dtype=np.int8)})
    lines = (f"{json.dumps(name)}: {i}\n" for i, name in enumerate(names))
    (folder / "vocabulary.yml").write_text("".join(lines), encoding="utf-8")
    return folder


def _layer(weights: dict[str, Tensor], ours: str, theirs: str, attentions: dict[str, str]) -> dict[str, Tensor]:
    tensors = {}
    for index, (attention, name) in enumerate(attentions.items()):
        for linear, projection in _LINEARS.items():
            tensors |= _linear(weights, f"{ours}.{attention}.{linear}", f"{theirs}->{name}->{projection}")
        block = name.partition("->")[0]
        tensors |= _norm(weights, f"{ours}.residuals.{index}.norm", f"{theirs}->{block}->preprocessor->norm")
    for linear, name in _FILTERS.items():
        tensors |= _linear(weights, f"{ours}.feed_forward.{linear}", f"{theirs}->{name}")
    last = f"{ours}.residuals.{len(attentions)}.norm"
    return tensors | _norm(weights, last, f"{theirs}->filterBlock->preprocessor->norm")


def _linear(weights: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    weight = weights[f"{ours}.weight"]
    bias = weights.get(f"{ours}.bias", weight.new_zeros(len(weight)))
    return {f"{theirs}->weight": weight.T, f"{theirs}->bias": bias}


def _norm(weights: dict[str, Tensor], ours: str, theirs: str, divisor: float = 1.0) -> dict[str, Tensor]:
    return {f"{theirs}->{part}": weights[f"{ours}.{part}"] / divisor for part in ("weight", "bias")}


def _options(bundle: Bundle, tokens: int) -> dict[str, object]:
    """Return the options that Marian stores with a model and reads without a default."""
    config = bundle.config.model
    return {
        "type": "transformer-new",
        "version": "v1.12.42",
        "dim-vocabs": [tokens, tokens],
        "dim-emb": config.d_model,
        "enc-depth": config.encoder_layers,
        "dec-depth": config.decoder_layers,
        "tied-embeddings-all": True,
        "output-omit-bias": True,
        "transformer-train-position-embeddings": True,
        "transformer-heads": config.num_heads,
        "transformer-dim-ffn": config.d_ff,
        "transformer-ffn-activation": "relu",
        "transformer-preprocess": "n",
        "transformer-postprocess": "da",
        "transformer-postprocess-top": "n",
        "transformer-postprocess-emb": "d",
    }


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write as `np.savez` does, without the ZIP64 headers that Marian's reader does not know."""
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
