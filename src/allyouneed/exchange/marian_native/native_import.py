"""Import of models in Marian's own format, as OPUS-MT and Bergamot distribute them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allyouneed.bundle import Bundle, build_model, load_weights
from allyouneed.config import Config, ModelConfig, config_from
from allyouneed.data.tokens.segmenters import BpeSegmenter, Segmenter, SentencePieceSegmenter, SpaceSegmenter
from allyouneed.data.tokens.vocabulary import Vocabulary, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.marian_native.decoder_settings import search_settings
from allyouneed.exchange.marian_native.import_weights import from_native_tensors
from allyouneed.exchange.marian_native.model_file import ModelFile, read_model
from allyouneed.exchange.marian_native.model_files import FoundModel, ModelFiles, find_model, find_weights
from allyouneed.exchange.marian_native.model_settings import NativeSettings, native_settings
from allyouneed.exchange.marian_native.new_names import positions_name
from allyouneed.exchange.marian_native.vocabulary_file import LARGEST_VOCABULARY, read_pieces, read_vocabulary
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.yaml_text import read_yaml

_LONGEST_SOURCE = 512  # tokens; Marian stores no limit with a model
_LONGEST_PAIR, _EXTRA_LENGTH = 256, 50  # our defaults, for tables of positions that are long enough
_SMALLEST_VOCABULARY = 16  # of our settings
_PRE_NORM = (
    "Marian 1.12 trains and scores this model as here, but its search does not normalise keys and values of earlier "
    "tokens in the decoder's self-attention, so it translates otherwise."
)
_BERGAMOT = re.compile(r"\.([a-z]{2})([a-z]{2})\.")  # model.deen.intgemm.alphas.bin
_OPUS = re.compile(r"^\* (source|target) language(?:\(s\))?: *(\S+)\s*$", re.MULTILINE)  # lines of OPUS-MT's README.md


def read_native(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a model in Marian's own format.

    Args:
        paths: A folder, a ZIP archive, or the model file and its vocabularies and SentencePiece models.
        languages: Codes of source and target; None reads them from the files' names.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model cannot be represented.
    """
    found = find_model(paths)
    where = found.files.label(found.model)
    model_file, settings = _read(found.files, found.model)
    sides = [_vocabulary(found, side, settings) for side in range(2)]
    tokenizer = _tokenizer(found, sides)
    config, remarks = _config(found, settings, sides, model_file)
    parameters = from_native_tensors(model_file.tensors, config.model, settings, sides, where)
    model = build_model(config.model, tokenizer)
    load_weights(model, parameters, Path(where))
    notes = _origin(found, model_file) | ({"remarks": " ".join(remarks)} if remarks else {})
    codes = model_languages(languages, *_languages(found), Path(found.files.name))
    positions = model.source_embedding.max_positions
    longest_source = min(_LONGEST_SOURCE, positions - config.search.max_extra_length) if positions else _LONGEST_SOURCE
    return Bundle(model.eval(), tokenizer, config, codes, longest_source, notes=notes)


def outline_native(path: Path) -> tuple[ModelConfig, list[int]]:
    """Read the settings of a model, whose vocabularies may be missing.

    Args:
        path: A folder, a ZIP archive, or the model file.

    Returns:
        Settings of our model, and the rows of its embedding matrix, or of those of both sides.

    Raises:
        UserError: If the model is missing or damaged, or cannot be represented.
    """
    files, name = find_weights(path)
    model_file, settings = _read(files, name)
    model = config_from({"model": settings.model}, files.label(name)).model
    if (table := model_file.tensors.get(positions_name("encoder"))) is not None:
        model = model.model_copy(update={"max_positions": len(table)})
    return model, list(settings.rows[: 1 if settings.shared_sides else 2])


def _read(files: ModelFiles, name: str) -> tuple[ModelFile, NativeSettings]:
    where = files.label(name)
    with files.open(name) as file:
        model_file = read_model(file, where)
    if model_file.settings is None:
        raise UserError(f"{where}: has no special:model.yml, which describes the model. It is of a version before 1.3.")
    return model_file, native_settings(read_yaml(model_file.settings, where), where)


def _vocabulary(found: FoundModel, side: int, settings: NativeSettings) -> Vocabulary:
    name = found.vocabularies[side]
    return read_vocabulary(found.files.read(name, LARGEST_VOCABULARY), found.files.label(name), settings.rows[side])


def _tokenizer(found: FoundModel, sides: Sequence[Vocabulary]) -> VocabularyTokenizer:
    source, target = (_segmenter(found, side) for side in range(2))
    target_tokenizer = VocabularyTokenizer(target, sides[1])
    if (source.kind, source.model, sides[0]) == (target.kind, target.model, sides[1]):
        return target_tokenizer
    return VocabularyTokenizer(source, sides[0], target_tokenizer)


def _segmenter(found: FoundModel, side: int) -> Segmenter:
    """Return what divides text into tokens; without a model, tokens are separated by spaces."""
    name = found.segmenters[side]
    if name is None:
        return SpaceSegmenter()
    content = found.files.read(name, LARGEST_VOCABULARY)
    if not name.endswith(".bpe"):
        read_pieces(content, found.files.label(name))
        return SentencePieceSegmenter(content)
    try:
        return BpeSegmenter(content)
    except ValueError as error:
        raise UserError(f"{found.files.label(name)}: is not a list of BPE codes ({error}).") from error


def _config(
    found: FoundModel, settings: NativeSettings, sides: Sequence[Vocabulary], file: ModelFile
) -> tuple[Config, list[str]]:
    model, data = dict(settings.model), {"vocab_size": max(_SMALLEST_VOCABULARY, settings.rows[0])}
    search, remarks = search_settings(found.decoder, found.files.name)
    if (table := file.tensors.get(positions_name("encoder"))) is not None:  # both sides must fit into it
        model["max_positions"] = len(table)
        data["max_length"] = max(1, min(_LONGEST_PAIR, len(table) // 2))
        search["max_extra_length"] = max(0, min(_EXTRA_LENGTH, len(table) - data["max_length"] - 1))
    if settings.shared_sides and sides[0] != sides[1]:  # one matrix here requires one vocabulary
        model["tie_embeddings"] = "target" if model["tie_embeddings"] is True else False
        remarks.append("Source and target have different vocabularies and one embedding matrix: each has a copy here.")
    if len(set(settings.decoder_layers)) < len(settings.decoder_layers):
        remarks.append("Decoder layers share parameters (transformer-tied-layers): each has a copy here.")
    if model["norm"] == "pre" and not settings.is_new:
        remarks.append(_PRE_NORM)
    if None in found.segmenters:
        remarks.append("Without a SentencePiece model, text must consist of tokens separated by spaces.")
    elif any(name.endswith(".bpe") for name in found.segmenters if name):
        remarks.append("Text must be tokenized as for training, for example by preprocess.sh.")
    values = {"model": model, "data": data, "search": search}
    return config_from(values, found.files.label(found.model)), remarks


def _origin(found: FoundModel, model_file: ModelFile) -> dict[str, Any]:
    names = sorted({found.model, *found.vocabularies, *filter(None, found.segmenters)})
    return {
        "imported from": found.files.name,
        "format": f"Marian, weights in {', '.join(sorted(model_file.types))}",
        "SHA-256": {name: found.files.sha256(name) for name in names},
    }


def _languages(found: FoundModel) -> tuple[str | None, str | None]:
    """Return the languages that OPUS-MT's README or the names of Bergamot's files give."""
    if "README.md" in found.files.files:
        text = found.files.read("README.md", 1 << 20).decode("utf-8", "replace")
        named = dict(_OPUS.findall(text))
        if named.keys() == {"source", "target"}:
            return named["source"], named["target"]
    match = _BERGAMOT.search(found.model)
    return (match[1], match[2]) if match else (None, None)
