"""Import of Marian models; those in the format of Hugging Face, as OPUS-MT is distributed there, are read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from torch import Tensor

from allyouneed.bundle import Bundle, build_model, check_size, load_weights
from allyouneed.config import Config, ModelConfig, config_from
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.hugging_face.export import MAX_POSITIONS
from allyouneed.exchange.hugging_face.weights import POSITIONS, from_marian, unread_tensors
from allyouneed.exchange.marian_native.native_import import outline_native, read_native
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.position_tables import Sinusoids, find_sinusoids
from allyouneed.exchange.reading.segmenter_files import read_small_file
from allyouneed.files import MANIFEST, check_folder, read_tensors
from allyouneed.untrusted import checked, read_typed

_WEIGHTS, _CONFIG, _VOCABULARY = "model.safetensors", "config.json", "vocab.json"
_ACTIVATION = "gelu"  # of `MarianConfig`
_HALVES = (torch.float16, torch.bfloat16)
_MOST_POSITIONS = 100_000  # rows of a stored table
_TOKENIZER, _GENERATION = "tokenizer_config.json", "generation_config.json"
_PICKLE = "pytorch_model.bin"
_REQUIRED = (_CONFIG, _WEIGHTS, "source.spm", "target.spm", _VOCABULARY)
_REMEDY = "Get the folder again, as `MarianMTModel.save_pretrained` and its tokenizer's `save_pretrained` write it."
_ACTIVATIONS = {
    **{"relu": "relu", "swish": "swish", "silu": "swish", "quick_gelu": "gelu_sigmoid"},
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh"), "gelu_tanh"),
}


class _Settings(BaseModel):
    """Types of the settings in `config.json` that are read; their values are checked where they are used."""

    model_config = ConfigDict(strict=True)

    d_model: int
    vocab_size: int
    decoder_vocab_size: int | None = None
    encoder_layers: int
    decoder_layers: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    encoder_attention_heads: int
    decoder_attention_heads: int
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int | None = None
    max_position_embeddings: int = Field(default=MAX_POSITIONS, ge=1, le=1_000_000)
    dropout: float = 0.1
    activation_function: str = _ACTIVATION
    scale_embedding: bool | None = None
    share_encoder_decoder_embeddings: bool | None = None
    tie_word_embeddings: bool | None = None
    num_beams: int | None = None


def read_marian(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a Marian model, in Hugging Face's format or in Marian's own.

    Args:
        paths: A folder of either format, or files as in `read_native`.
        languages: Codes of source and target; None reads them from the folder.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing, invalid or changed since its manifest was written, or if the architecture is
            not supported.
    """
    if len(paths) == 1 and paths[0].is_dir() and not _is_native(paths[0]):
        return _read_transformers(paths[0], languages)
    return read_native(paths, languages)


def outline_marian(path: Path) -> tuple[ModelConfig, list[int]]:
    """Read the settings of a Marian model of either format, whose other files may be missing.

    Args:
        path: A folder, an archive or a model file.

    Returns:
        Settings of the model, and the size of the vocabulary, or of those of both sides.

    Raises:
        UserError: If the settings are missing or damaged, or the architecture is not supported.
    """
    if not path.is_dir() or _is_native(path):
        return outline_native(path)
    settings = _read_settings(path)
    sizes = [settings["vocab_size"], settings.get("decoder_vocab_size") or settings["vocab_size"]]
    separate = _optional(path / _TOKENIZER).get("separate_vocabs") or sizes[0] != sizes[1]
    return _read_config(path, settings).model, sizes if separate else sizes[:1]


def _read_settings(folder: Path) -> dict[str, Any]:
    settings = read_typed(folder / _CONFIG, dict[str, Any], _REMEDY)
    checked(settings, _Settings, folder / _CONFIG, _REMEDY)
    return settings


def _is_native(folder: Path) -> bool:
    """Return whether a folder has a model in Marian's own format."""
    if (folder / _CONFIG).is_file() or (folder / _WEIGHTS).is_file():
        return False
    models = (path.name for path in folder.iterdir() if path.suffix in (".npz", ".bin"))
    return (folder / "decoder.yml").is_file() or any(name != _PICKLE for name in models)


def _read_transformers(folder: Path, languages: tuple[str, str] | None) -> Bundle:
    _check_files(folder)
    settings = _read_settings(folder)
    config = _read_config(folder, settings)
    tokenizer = _read_tokenizer(folder, settings)
    path = folder / _WEIGHTS
    stored = read_tensors(path)
    config = config.replace(model=_position_settings(stored, path))
    check_size(config.model, tokenizer, sum(map(Tensor.numel, stored.values())), path)
    model = build_model(config.model, tokenizer)
    vocabularies = tokenizer.vocabulary, tokenizer.target.vocabulary
    try:
        tensors = from_marian(stored, config.model, *vocabularies)
    except KeyError as error:
        raise UserError(f"{path}: has no tensor {error}. {_REMEDY}") from error
    except IndexError as error:
        raise UserError(f"{path}: has fewer rows than the vocabulary has tokens. {_REMEDY}") from error
    if unread := unread_tensors(stored, config.model, *vocabularies):
        raise UserError(f"{path}: has the tensor {unread[0]}, which no Marian model of its settings has. {_REMEDY}")
    load_weights(model, {name: tensor.float() for name, tensor in tensors.items()}, path)
    notes = {"imported from": folder.resolve().name}
    longest_source = settings.get("max_position_embeddings", MAX_POSITIONS)
    named = _optional(folder / _TOKENIZER)
    languages = model_languages(languages, named.get("source_lang"), named.get("target_lang"), folder / _TOKENIZER)
    return Bundle(model.eval(), tokenizer, config, languages, longest_source, notes=notes)


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    if (folder / MANIFEST).is_file():
        check_folder(folder, _REQUIRED, _REMEDY)
    for name in _REQUIRED:
        if not (folder / name).is_file():
            hint = ""
            if name == _WEIGHTS and (folder / _PICKLE).is_file():
                hint = (
                    "pytorch_model.bin is a pickle, which can execute code and is not read; convert it with "
                    "MarianMTModel.from_pretrained(DIR).save_pretrained(DIR). "
                )
            raise UserError(f"{folder / name}: missing. {hint}{_REMEDY}")


def _read_config(folder: Path, settings: dict[str, Any]) -> Config:
    shared, tied = (
        settings.get(key, True) is not False for key in ("share_encoder_decoder_embeddings", "tie_word_embeddings")
    )
    _refuse_unsupported(folder / _CONFIG, settings, shared and not tied)
    d_ff, heads = (settings[f"encoder_{size}"] for size in ("ffn_dim", "attention_heads"))
    decoder_d_ff, decoder_heads = (settings[f"decoder_{size}"] for size in ("ffn_dim", "attention_heads"))
    model = {
        "d_model": settings["d_model"],
        "d_ff": d_ff,
        "num_heads": heads,
        "decoder_d_ff": None if decoder_d_ff == d_ff else decoder_d_ff,
        "decoder_heads": None if decoder_heads == heads else decoder_heads,
        "encoder_layers": settings["encoder_layers"],
        "decoder_layers": settings["decoder_layers"],
        "dropout": settings.get("dropout", 0.1),
        "tie_embeddings": True if shared else ("target" if tied else False),
        "attention_bias": True,
        "output_bias": True,
        "activation": _ACTIVATIONS[settings.get("activation_function", _ACTIVATION)],
        "scale_embeddings": bool(settings.get("scale_embedding", False)),
    }
    data = {"vocab_size": settings["vocab_size"]}
    return config_from({"model": model, "data": data, "search": _search(folder, settings)}, str(folder / _CONFIG))


def _search(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Read the settings of `generate`, which divides a log probability by |Y|^α, with α = 1 by default."""
    named = [_optional(folder / _GENERATION), settings]
    beams, alpha = (
        next((value for each in named if (value := each.get(key)) is not None), default)
        for key, default in (("num_beams", 4), ("length_penalty", 1.0))
    )
    return {"beam_size": beams, "length_penalty": alpha, "length_offset": 0.0}


def _position_settings(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the settings of the positions: those of the stored tables, or of transformers if there are none."""
    tables = {name: tensors[name] for name in POSITIONS if name in tensors}
    found: list[Sinusoids] = []
    for name, table in tables.items():
        is_table = table.dim() == 2 and 0 < len(table) <= _MOST_POSITIONS
        rounding = 2 * torch.finfo(table.dtype).eps if table.dtype in _HALVES else 1e-6
        kind = find_sinusoids(table.float(), rounding) if is_table else None
        if kind is None or not kind.halves:
            raise UserError(f"{path}: {name} holds no sinusoids in Marian's order, and Marian has no others. {_REMEDY}")
        found.append(kind)
    if len(set(found)) > 1:
        raise UserError(f"{path}: the sinusoids of {' and '.join(tables)} differ; Marian's are the same. {_REMEDY}")
    return {"sinusoid_frequencies": found[0].frequencies, "first_position": found[0].first} if found else {}


def _refuse_unsupported(path: Path, settings: dict[str, Any], shared_but_not_tied: bool) -> None:
    """Reject unsupported settings, which no OPUS-MT model has, since an imported model would translate wrongly."""
    unsupported = {
        "model_type": settings.get("model_type") != "marian",
        "activation_function": settings.get("activation_function", _ACTIVATION) not in _ACTIVATIONS,
        "normalize_before": settings.get("normalize_before", False),
        "normalize_embedding": settings.get("normalize_embedding", False),
        "add_final_layer_norm": settings.get("add_final_layer_norm", False),
        "tie_word_embeddings": shared_but_not_tied,
    }
    for name, refused in unsupported.items():
        if refused:
            raise UserError(f"{path}: {name} = {settings.get(name)} is not supported; OPUS-MT models do not use it.")


def _read_tokenizer(folder: Path, settings: dict[str, Any]) -> VocabularyTokenizer:
    separate = _optional(folder / _TOKENIZER).get("separate_vocabs")
    names = [_VOCABULARY, "target_vocab.json"] if separate else [_VOCABULARY]
    sizes = [settings["vocab_size"], settings.get("decoder_vocab_size") or settings["vocab_size"]]
    vocabularies = [_read_vocabulary(folder / name, settings, size) for name, size in zip(names, sizes, strict=False)]
    source_model, target_model = (read_small_file(folder / name) for name in ("source.spm", "target.spm"))
    try:
        target = VocabularyTokenizer(target_model, vocabularies[-1])
        if not separate and source_model == target_model:
            return target
        return VocabularyTokenizer(source_model, vocabularies[0], target)
    except RuntimeError as error:
        raise UserError(f"{folder}: source.spm or target.spm is not a SentencePiece model.") from error


def _read_vocabulary(path: Path, settings: dict[str, Any], size: int) -> Vocabulary:
    """Order tokens as this package does: padding, unknown, start and end first, then the others in Marian's order."""
    rows_by_name = read_typed(path, dict[str, StrictInt], _REMEDY)
    names = {row: name for name, row in rows_by_name.items()}
    if sorted(names) != list(range(size)):
        raise UserError(f"{path}: does not name each of rows 0 to {size - 1} once, as {_CONFIG} requires. {_REMEDY}")
    pad, eos, unk = settings["pad_token_id"], settings["eos_token_id"], rows_by_name.get("<unk>")
    if unk is None:
        raise UserError(f"{path}: has no <unk>. {_REMEDY}")
    start = settings.get("decoder_start_token_id", pad)
    for row in (pad, eos, start):
        if row not in names:
            raise UserError(f"{path}: has no row {row}, which {_CONFIG} names. {_REMEDY}")
    special = [pad, unk, ADDED if start == pad else start, eos]
    rows = [*special, *(row for row in range(size) if row not in special)]
    start_names = ("<s>", "<start>", "<start of sentence>")
    added_name = next(name for name in start_names if name not in rows_by_name or start != pad)
    return Vocabulary([added_name if row == ADDED else names[row] for row in rows], rows)


def _optional(path: Path) -> dict[str, Any]:
    """Read a JSON object, empty if there is no such file."""
    return read_typed(path, dict[str, Any], _REMEDY) if path.is_file() else {}
