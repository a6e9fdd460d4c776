"""Import of a translation model of Sockeye 3, from its folder.

Queries, keys and values of self-attention are one matrix, in which keys and values alternate by head; so do those of
cross-attention. The strings of what is done before and after each sub-layer (n: norm, d: dropout, r: residual
connection) say whether norms come before or after.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, StrictInt
from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_bundle import make_bundle
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary, order_vocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.named_layers import (
    Converted,
    Embedded,
    StackNames,
    attention_names,
    convert,
    read_stack,
)
from allyouneed.exchange.reading.pickles import read_checkpoint, read_weights
from allyouneed.exchange.reading.segmentation import describe_segmenters, find_moses, make_tokenizer
from allyouneed.exchange.reading.segmenter_files import read_segmenters
from allyouneed.exchange.reading.stored_weights import StoredWeights, shapes_checked
from allyouneed.exchange.reading.yaml_text import read_yaml
from allyouneed.untrusted import cannot_read, checked, read_regular, read_typed

_CONFIG, _VOCABULARIES = "config", ("vocab.src.0.json", "vocab.trg.0.json")
_SIDES = ("encoder", "decoder")
_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
_EPSILON = 1e-6
_MOST_BYTES = 1 << 26  # of settings, which have statistics of the training text
_REMEDY = "Give the folder of a translation model of Sockeye 3."
_ACTIVATIONS = {"relu": "relu", "swish1": "swish", "gelu": "gelu"}
_NORMS = {("n", "r"): "pre", ("", "rn"): "post"}  # what is done before and after a sub-layer, without dropout
_STATISTICS = re.compile(r"^  data_statistics:.*\n(?:    .*\n)*", re.M)  # of the training text; they have aliases
_OFF = ("false", "null", "", "0", "0.0", "[]", "none")
_REFUSED = {  # settings of encoder and decoder
    "use_lhuc": "layers have LHUC factors",
    "use_glu": "feed-forward networks are gated",
    "block_prepended_cross_attention": "attention cannot see the beginnings of sources",
}
_LINEARS = ("query", "key", "value", "ff_out")


_Count: TypeAlias = Annotated[int, Field(ge=1, lt=2**31)]


class _Stack(BaseModel):
    """Settings of the encoder or the decoder."""

    attention_heads: _Count
    num_layers: _Count
    act_type: Literal["relu", "swish1", "gelu"]
    preprocess_sequence: str
    postprocess_sequence: str
    decoder_type: Literal["transformer", ""] = ""

    @property
    def norms(self) -> tuple[str, str]:
        """What is done before and after a sub-layer, without dropout."""
        return self.preprocess_sequence.replace("d", ""), self.postprocess_sequence.replace("d", "")


class _Settings(BaseModel):
    """Content of `config`, in which all values are text, lists or mappings; other names are checked by `_REFUSED`."""

    config_encoder: _Stack
    config_decoder: _Stack
    config_embed_source: dict[str, Any]
    config_embed_target: dict[str, Any]
    config_length_task: Any = None

    @property
    def stacks(self) -> tuple[_Stack, _Stack]:
        """The settings of encoder and decoder."""
        return self.config_encoder, self.config_decoder


def read_sockeye(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a model of Sockeye 3.

    Args:
        paths: The model's folder, and optionally BPE codes or SentencePiece models, one for both sides or two.
        languages: Codes of source and target, which Sockeye does not store.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing, damaged or something else, or the model cannot be represented.
    """
    folder, *segmenting = paths
    weights_path = _weights_path(folder)
    codes = model_languages(languages, None, None, folder)
    settings = _read_settings(folder / _CONFIG)
    vocabularies = _read_vocabulary(folder / _VOCABULARIES[0]), _read_vocabulary(folder / _VOCABULARIES[1])
    tensors = read_weights(weights_path, read_checkpoint(weights_path, ()))
    with shapes_checked(weights_path):
        converted = _convert(weights_path, settings, tensors, vocabularies)
    segmenters = read_segmenters(segmenting, find_moses(vocabularies, codes))
    used = [weights_path, folder / _CONFIG, *(folder / name for name in _VOCABULARIES), *segmenting]
    tokenizer = make_tokenizer(segmenters, vocabularies)
    bundle = make_bundle(weights_path, "Sockeye", used, converted, tokenizer, codes)
    bundle.notes["remarks"] = describe_segmenters(segmenters)
    return bundle


def _weights_path(folder: Path) -> Path:
    """Return the path of the weights: the best checkpoint, or the last one."""
    for name in (_CONFIG, *_VOCABULARIES):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: missing. Give the folder that sockeye-train wrote, with config, params.best, "
                "vocab.src.0.json and vocab.trg.0.json."
            )
    found = [folder / "params.best", *sorted(folder.glob("params.[0-9]*"), reverse=True)]
    existing = next((path for path in found if path.is_file()), None)
    if existing is None:
        raise UserError(f"{folder}: has no weights. Give the folder with params.best or params.00001.")
    return existing


def _read_settings(path: Path) -> _Settings:
    """Read the settings, and refuse those that cannot be followed."""
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise cannot_read(path, error, _REMEDY) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    settings = read_yaml(_STATISTICS.sub("", text), str(path))
    found = checked(settings, _Settings, path, _REMEDY)
    refused = {
        **{f"config_{side}.{name}": why for side in _SIDES for name, why in _REFUSED.items()},
        "config_embed_source.factor_configs": "sources have several factors",
        "config_embed_target.factor_configs": "targets have several factors",
        "lhuc": "layers have LHUC factors",
        "neural_vocab_selection": "a network selects the vocabulary for each sentence",
    }
    for name, reason in refused.items():
        if str(_value(settings, name)).lower() not in _OFF:
            raise UserError(
                f"{path}: {name} = {str(_value(settings, name))[:40]}: {reason}, which no Transformer here does. It "
                "cannot be imported."
            )
    return found


def _value(settings: Mapping[str, Any], name: str) -> Any:
    """Return a setting, whose section is before a dot; empty if there is none."""
    section, _, key = name.rpartition(".")
    return (settings[section] if section else settings).get(key, "")


def _read_vocabulary(path: Path) -> ImportedVocabulary:
    rows = read_typed(path, dict[str, StrictInt], "Get the file again.")
    tokens = {row: token for token, row in rows.items()}
    if sorted(tokens) != list(range(len(rows))):
        raise UserError(f"{path}: not a vocabulary of Sockeye: its rows are not consecutive. Get the file again.")
    return order_vocabulary(path, [tokens[row] for row in range(len(rows))], _SPECIAL)


def _convert(
    path: Path,
    settings: _Settings,
    tensors: Mapping[str, Tensor],
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
) -> Converted:
    config = path.parent / _CONFIG
    norms = {stack.norms for stack in settings.stacks}
    if len(norms) > 1:
        raise UserError(f"{config}: the norms of encoder and decoder are in different places. It cannot be imported.")
    norm = _norm(config, *norms.pop())
    heads = [stack.attention_heads for stack in settings.stacks]
    activations = {stack.act_type for stack in settings.stacks}
    if len(activations) > 1:
        raise UserError(f"{config}: act_type of encoder and decoder differ. It cannot be imported.")
    has_length_task = isinstance(settings.config_length_task, dict)
    weights = StoredWeights(path, _separated(tensors, heads, has_length_task))
    stacks = [read_stack(weights, side, _names(side, norm)) for side in _SIDES]
    for side, stack, stated in zip(_SIDES, stacks, settings.stacks, strict=True):
        if stack.layers != stated.num_layers:
            raise UserError(f"{config}: config_{side}.num_layers is not {stack.layers}, the layers of {path.name}.")
    sides = [_embedded(weights, side, name) for side, name in zip(_SIDES, ("source", "target"), strict=True)]
    output = weights.take("output_layer.weight"), weights.take("output_layer.bias")
    converted = convert(weights, (stacks[0], stacks[1]), (sides[0], sides[1]), output, vocabularies, norm)
    converted.settings |= {
        "num_heads": heads[0],
        **({"decoder_heads": heads[1]} if heads[1] != heads[0] else {}),
        "activation": _ACTIVATIONS[activations.pop()],
        "norm_epsilon": _EPSILON,
    }
    return converted


def _norm(path: Path, before: str, after: str) -> str:
    if (before, after) not in _NORMS:
        raise UserError(
            f"{path}: preprocess_sequence = {before[:20]!r} with postprocess_sequence = {after[:20]!r}, dropout left "
            "out, is not supported, only a norm before (n, dr) or after ('', drn)."
        )
    return _NORMS[before, after]


def _names(side: str, norm: str) -> StackNames:
    own = "self_attention" if side == "encoder" else "autoregr_layer"
    parts = {
        **attention_names("self_attention", own, _LINEARS),
        **(attention_names("cross_attention", "enc_attention", _LINEARS) if side == "decoder" else {}),
        "feed_forward.inner": "ff.ff1",
        "feed_forward.outer": "ff.ff2",
    }
    sublayers = [own, *(["enc_attention"] if side == "decoder" else []), "ff"]
    parts |= {f"residuals.{n}.norm": f"{norm}_{name}.layer_norm" for n, name in enumerate(sublayers)}
    return StackNames(f"{side}.layers.{{}}", parts, f"{side}.final_process.layer_norm")


def _separated(tensors: Mapping[str, Tensor], heads: Sequence[int], has_length_task: bool) -> dict[str, Tensor]:
    """Divide the matrices of queries, keys and values; drop what only predicts lengths, and copies of traced parts."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        number = heads[name.startswith("decoder.")]
        prefix, _, owner = name.removesuffix(".weight").rpartition(".")
        if name.startswith("traced_") or (has_length_task and name.startswith("length_ratio.")):
            continue
        if owner == "ff_in" and len(tensor) % 3 == 0:
            query, both = tensor[: len(tensor) // 3], tensor[len(tensor) // 3 :]
            found |= {f"{prefix}.query.weight": query, **_keys_and_values(prefix, both, number)}
        elif owner == "ff_kv":
            found |= _keys_and_values(prefix, tensor, number)
        else:
            found[f"{prefix}.query.weight" if owner == "ff_q" else name] = tensor
    return found


def _keys_and_values(prefix: str, both: Tensor, heads: int) -> dict[str, Tensor]:
    """Divide a matrix in which the keys and values of each head follow one another."""
    by_head = both.view(heads, 2, -1, both.shape[1])
    return {f"{prefix}.{kind}.weight": by_head[:, i].flatten(0, 1) for i, kind in enumerate(("key", "value"))}


def _embedded(weights: StoredWeights, side: str, name: str) -> Embedded:
    matrix = weights.take(f"embedding_{name}.embedding.weight")
    positions = weights.take(f"{side}.pos_embedding.weight")
    return Embedded(matrix, positions, math.sqrt(matrix.shape[-1]))
