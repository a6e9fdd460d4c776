"""Import of models of Eole, the successor of OpenNMT-py: config.json, vocab.json and safetensors files in a folder.

Its decoder is pre-norm, the source has no end token, and sinusoids are stored as a table. The transforms of the
training text, which translation repeats, name the files of the subword model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.eole.settings import CONFIG, REMEDY, EoleConfig
from allyouneed.exchange.reading.imported_bundle import make_bundle
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary, order_vocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.named_layers import Embedded, StackNames, attention_names, convert, read_stack
from allyouneed.exchange.reading.segmentation import describe_segmenters, make_tokenizer
from allyouneed.exchange.reading.stored_weights import StoredWeights, shapes_checked
from allyouneed.files import read_tensors
from allyouneed.untrusted import read_typed

_VOCABULARY = "vocab.json"
_LINEARS = ("linear_query", "linear_keys", "linear_values", "final_linear")
_FEED_FORWARD = {"feed_forward.inner": "mlp.gate_up_proj", "feed_forward.outer": "mlp.down_proj"}
_ENCODER = StackNames(
    "encoder.transformer_layers.{}",
    {
        **attention_names("self_attention", "self_attn", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "input_layernorm",
        "residuals.1.norm": "post_attention_layernorm",
    },
    "encoder.layer_norm",
)
_DECODER = StackNames(
    "decoder.transformer_layers.{}",
    {
        **attention_names("self_attention", "self_attn", _LINEARS),
        **attention_names("cross_attention", "context_attn", _LINEARS),
        **_FEED_FORWARD,
        "residuals.0.norm": "input_layernorm",
        "residuals.1.norm": "precontext_layernorm",
        "residuals.2.norm": "post_attention_layernorm",
    },
    "decoder.layer_norm",
)
_SPECIAL = {"pad_token": "<blank>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def read_eole(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a model of Eole.

    Args:
        paths: The folder, and optionally a SentencePiece model or subword-nmt codes for both sides, or one for each,
            instead of those that config.json names.
        languages: Codes of source and target.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model has parts that a `Transformer` does not have.
    """
    folder, *given = paths
    if not folder.is_dir() or len(given) > 2:
        raise UserError(
            "import eole takes a folder with config.json, then optionally the subword model of both sides, or of each: "
            "import eole DIR SOURCE.model TARGET.model RUN."
        )
    languages = model_languages(languages, None, None, folder)
    config = EoleConfig.read(folder)
    vocabularies = _read_vocabularies(folder / _VOCABULARY)
    shards = sorted(folder.glob("model.*.safetensors")) or sorted(folder.glob("model.safetensors"))
    if not shards:
        raise UserError(f"{folder}: has no model.00.safetensors. {REMEDY}")
    tensors = {name: tensor for shard in shards for name, tensor in read_tensors(shard).items()}
    weights = StoredWeights(shards[0], tensors)
    stacks = read_stack(weights, "encoder", _ENCODER), read_stack(weights, "decoder", _DECODER)
    _check_scalars(weights, stacks[1].layers)
    with shapes_checked(weights.path):
        sides = _embeddings(weights, config)
        output = weights.take_if_stored("generator.weight"), weights.take_if_stored("generator.bias")
        converted = convert(weights, stacks, sides, output, vocabularies, "pre")
        head_size = _head_size(converted.parameters, config)
    converted.settings |= {**config.model_settings(), **head_size, "source_end": False}
    segmentation, segmenters = config.segmentation(given)
    tokenizer = make_tokenizer(segmentation, vocabularies)
    used = [folder / CONFIG, folder / _VOCABULARY, *shards, *segmenters]
    bundle = make_bundle(shards[0], "Eole", used, converted, tokenizer, languages)
    bundle.notes["remarks"] = describe_segmenters(segmentation)
    return bundle


class _Vocabularies(BaseModel):
    """Content of `vocab.json`."""

    src: list[str]
    tgt: list[str]
    specials: dict[str, str | None] | None = None
    decoder_start_token: str | None = None


def _read_vocabularies(path: Path) -> tuple[ImportedVocabulary, ImportedVocabulary]:
    content = read_typed(path, _Vocabularies, REMEDY)
    special = {**_SPECIAL, **(content.specials or {})}
    start = content.decoder_start_token or special["bos_token"]
    lists = content.src, content.tgt
    if start not in lists[1] or special["eos_token"] not in lists[1]:
        raise UserError(f"{path}: the target vocabulary has no start token {start!r} or no end token. {REMEDY}")
    names = [special["pad_token"], special["unk_token"], start, special["eos_token"]]
    source, target = (order_vocabulary(path, tokens, names) for tokens in lists)
    return source, target


def _check_scalars(weights: StoredWeights, layers: int) -> None:
    """Take the factors of the decoder's layers, which only Gemma's models use."""
    for number in range(layers):
        scalar = weights.take_if_stored(f"decoder.transformer_layers.{number}.layer_scalar")
        if scalar is not None and bool((scalar != 1).any()):
            raise UserError(f"{weights.path}: layer_scalar of decoder layer {number} is not 1, which is not supported.")


def _embeddings(weights: StoredWeights, config: EoleConfig) -> tuple[Embedded, Embedded]:
    """Read the embeddings of both sides; a shared matrix is stored once."""
    shared, found = None, []
    for side in ("src_emb", "tgt_emb"):
        name = f"{side}.embeddings.weight"
        matrix = shared if shared is not None and name not in weights else weights.take(name)
        shared = matrix
        root = math.sqrt(matrix.shape[-1])
        if config.learned_positions:
            shift, factor = config.position_shift, root if config.normalize else 1.0
            found.append(Embedded(matrix, weights.take(f"{side}.pe.weight")[shift:] * factor, factor))
        else:
            table = weights.take_if_stored(f"{side}.pe.pe")
            found.append(
                Embedded(matrix, config.sinusoids(matrix.shape[-1]) if table is None else table.flatten(0, -2), root)
            )
    return found[0], found[1]


def _head_size(parameters: Mapping[str, Tensor], config: EoleConfig) -> dict[str, Any]:
    """Return the width of heads if it is not d_model / heads."""
    rows, d_model = parameters["encoder.layers.0.self_attention.query.weight"].shape
    size = rows // config.heads[0]
    return {"d_k": size, "d_v": size} if {size * heads for heads in config.heads} != {d_model} else {}
