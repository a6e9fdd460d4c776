"""Export to Marian's own format, which `marian-decoder` and pymarian read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.marian_native.export_weights import (
    is_plain,
    marian_config,
    to_new_transformer,
    to_transformer,
)
from allyouneed.exchange.marian_native.names import MODEL_SETTINGS
from allyouneed.exchange.marian_native.vocabularies import NativeVocabulary, native_vocabulary
from allyouneed.files import new_folder

MODEL, DECODER = "model.npz", "decoder.yml"
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "gelu": "gelu", "gelu_sigmoid": "swish"}
_POSITIONS = 1024  # positions of a model with sinusoids, which have no limit here
_VERSION = "v1.12.42"  # the version whose sources these files follow
_NORMS = {"pre": ("n", "da"), "post": ("", "dan")}  # before and after a sub-layer


def export_marian_native(bundle: Bundle, folder: Path) -> None:
    """Write `model.npz`, one or two vocabularies, `decoder.yml` and `manifest.json`.

    Args:
        bundle: The bundle to export.
        folder: A new or empty folder.

    Raises:
        UserError: If Marian computes no such model, or if the folder has files.
    """
    check_marian_native(bundle)
    source, target = native_vocabulary(bundle.tokenizer), native_vocabulary(bundle.tokenizer.target)
    positions = _positions(bundle)
    plain = is_plain(bundle)
    tensors = to_transformer(bundle, source, target) if plain else to_new_transformer(bundle, source, target, positions)
    files = _vocabulary_files(source, target, bundle.tokenizer.shared)
    options = _model_options(bundle, source, target, plain)
    with new_folder(folder) as unfinished:
        _write_npz(unfinished / MODEL, tensors, options)
        for name, content in {**files, **_segmenter_files(source, target)}.items():
            (unfinished / name).write_bytes(content)
        decoder = _decoder_options(bundle, list(files), positions, plain)
        (unfinished / DECODER).write_text(_yaml(decoder), encoding="utf-8")


def check_marian_native(bundle: Bundle) -> None:
    """Refuse what Marian computes otherwise, whatever its options.

    Raises:
        UserError: If it cannot be exported.
    """
    config = bundle.config.model
    if config.activation not in _ACTIVATIONS:
        raise UserError(
            f"model.activation = {config.activation}: Marian computes only {', '.join(_ACTIVATIONS)}. Export to "
            "ctranslate2."
        )
    if config.decoder.heads != config.encoder.heads:
        raise UserError(
            f"model.decoder_heads = {config.decoder.heads}: in Marian, encoder and decoder have the same number of "
            f"heads, here {config.encoder.heads}. Export to ctranslate2."
        )
    if config.has_final_norm("encoder") != config.has_final_norm("decoder"):
        raise UserError(
            f"model.final_norm = {config.final_norm}: in Marian, both encoder and decoder have a final norm, or none. "
            "Export to ctranslate2."
        )
    if not config.source_end:
        raise UserError("model.source_end = false: in Marian, attention sees the end token of the source.")


def _positions(bundle: Bundle) -> int:
    """Return the number of positions to store."""
    config = bundle.config
    if config.model.positions == "learned":
        return config.model.max_positions
    return max(_POSITIONS, bundle.longest_source + config.search.max_extra_length + 1)


def _vocabulary_files(source: NativeVocabulary, target: NativeVocabulary, shared: bool) -> dict[str, bytes]:
    """Return file contents by name, without segmenters: one file if both sides share it."""
    if shared and (source.suffix, source.content) == (target.suffix, target.content):
        return {f"vocab.{source.suffix}": source.content}
    return {f"source.{source.suffix}": source.content, f"target.{target.suffix}": target.content}


def _segmenter_files(source: NativeVocabulary, target: NativeVocabulary) -> dict[str, bytes]:
    sides = (("source", source.segmenter), ("target", target.segmenter))
    return {f"{name}.{segmenter[0]}": segmenter[1] for name, segmenter in sides if segmenter}


def _model_options(bundle: Bundle, source: NativeVocabulary, target: NativeVocabulary, plain: bool) -> dict[str, Any]:
    """Return the options that Marian stores with a model."""
    config = bundle.config.model
    before, after = _NORMS[config.norm]
    shares = config.tie_embeddings if plain else marian_config(config).tie_embeddings
    return {
        "type": "transformer" if plain else "transformer-new",
        "version": _VERSION,
        "dim-vocabs": [len(source), len(target)],
        "dim-emb": config.d_model,
        "enc-depth": config.encoder_layers,
        "dec-depth": config.decoder_layers,
        "tied-embeddings": shares == "target",
        "tied-embeddings-src": shares == "inputs",
        "tied-embeddings-all": shares is True,
        "output-omit-bias": not (config.output_bias or target.excluded),
        "transformer-train-position-embeddings": not plain,
        "transformer-heads": config.num_heads,
        "transformer-dim-ffn": config.encoder.d_ff,
        "transformer-decoder-dim-ffn": config.decoder.d_ff,
        "transformer-ffn-depth": 2,
        "transformer-decoder-ffn-depth": 2,
        "transformer-ffn-activation": _ACTIVATIONS[config.activation],
        "transformer-decoder-autoreg": "self-attention",
        "transformer-preprocess": before,
        "transformer-postprocess": after,
        "transformer-postprocess-top": "n" if config.has_final_norm("decoder") else "",
        "transformer-postprocess-emb": "dn" if config.embedding_norm else "d",
    }


def _decoder_options(bundle: Bundle, vocabularies: list[str], positions: int, plain: bool) -> dict[str, Any]:
    """Return the settings of `marian-decoder -c decoder.yml`.

    The length penalty is off where its formula differs from Marian's, |Y|^α (see `agreement.compare`). A batch of the
    newer Transformer has one sentence, because Marian computes NaN for padded sources on the CPU.
    """
    search = bundle.config.search
    return {
        "relative-paths": True,
        "models": [MODEL],
        "vocabs": [vocabularies[0], vocabularies[-1]],
        "beam-size": search.beam_size,
        "normalize": search.length_penalty if search.length_offset == 0 else 0,
        "max-length": positions,
        "max-length-crop": True,
        "mini-batch": 64 if plain else 1,
        "maxi-batch": 100 if plain else 1,
        "maxi-batch-sort": "src" if plain else "none",
        "cpu-threads": 1,
    }


def _yaml(settings: Mapping[str, Any]) -> str:
    """Serialise flat settings; JSON values are YAML, too."""
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())


def _write_npz(path: Path, tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
    """Write as `np.savez` does, without the ZIP64 headers that Marian's reader does not know."""
    settings = np.frombuffer(_yaml(options).encode() + b"\0", dtype=np.int8)
    arrays = {name: np.ascontiguousarray(tensor.float().cpu().numpy()) for name, tensor in tensors.items()}
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name, array in {**arrays, MODEL_SETTINGS: settings}.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue())
