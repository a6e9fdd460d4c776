"""Import of CTranslate2 models: encoder-decoder Transformers of any quantization, dequantised to fp32.

A folder has `model.bin` (`model_file.py`), `config.json` and vocabularies (`vocabulary.py`).
What divides text into tokens is found in the folder or given (`segmenters.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allyouneed.bundle import Bundle, build_model, load_weights
from allyouneed.config import config_from
from allyouneed.data.tokens.segmenters import Segmenter
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.layers import open_variables, read_side
from allyouneed.exchange.ctranslate2.model_file import (
    CONFIG,
    REMEDY,
    WEIGHTS,
    ModelFile,
    ModelFolder,
    map_folder,
    read_model,
)
from allyouneed.exchange.ctranslate2.segmenters import find_segmenters, remark
from allyouneed.exchange.ctranslate2.vocabulary import Side, read_sides, read_special_tokens
from allyouneed.exchange.ctranslate2.weights import convert, read_output
from allyouneed.exchange.reading.imported_bundle import length_settings, longest_source
from allyouneed.exchange.reading.licence import find_licence
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.segmenter_files import read_segmenters
from allyouneed.files import MANIFEST, check_folder


def read_ctranslate2(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read a CTranslate2 folder.

    Args:
        paths: The folder, and optionally a SentencePiece model or BPE codes for both sides, or for each.
        languages: Codes of source and target.

    Returns:
        The bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model has parts that a `Transformer` does not have.
    """
    folder, *given = paths
    if not folder.is_dir() or len(given) > 2:
        raise UserError(
            "import ctranslate2 takes a folder with model.bin, then optionally the SentencePiece models or BPE codes "
            "of source and target: import ctranslate2 DIR SOURCE.spm TARGET.spm RUN."
        )
    languages = model_languages(languages, None, None, folder)
    if (folder / MANIFEST).is_file():  # of our own export
        check_folder(folder, [WEIGHTS], REMEDY)
    bundle = read_bundle(map_folder(folder), read_segmenters(given or find_segmenters(folder)), languages)
    if licence := find_licence(folder):
        bundle.notes["licence"] = licence
    return bundle


def read_bundle(folder: ModelFolder, segmenters: Sequence[Segmenter], languages: tuple[str, str]) -> Bundle:
    """Read a CTranslate2 model.

    Args:
        folder: Its files.
        segmenters: What divides the text of both sides, or of each.
        languages: Codes of source and target.

    Returns:
        The bundle.

    Raises:
        UserError: See `read_ctranslate2`.
    """
    file = read_model(folder)
    variables = open_variables(file)
    zero_start = bool(variables.number("decoder/start_from_zero_embedding", 0))
    special = read_special_tokens(folder, variables, file.version, zero_start)
    encoder, decoder = read_side(variables, file, "encoder"), read_side(variables, file, "decoder")
    output = read_output(variables, decoder)
    sizes = len(encoder.embeddings), len(decoder.embeddings)
    vocabularies = read_sides(folder, special, sizes, zero_start)
    settings, parameters = convert((encoder, decoder), output, vocabularies, variables)
    settings |= {"norm_epsilon": special.epsilon, "source_end": special.source_end}
    if variables.unused:
        name = variables.unused[0]
        raise UserError(f"{file.path}: {name} and possibly other variables are unknown. The model cannot be imported.")
    lengths = length_settings(file.path, settings, len(vocabularies[0].rows))
    config = config_from({"model": settings, **lengths}, str(folder.path))
    tokenizer = _tokenizer(vocabularies, segmenters)
    model = build_model(config.model, tokenizer)
    load_weights(model, parameters, file.path)
    notes = _origin(folder, file, [side.path for side in vocabularies])
    if remarks := " ".join(filter(None, (remark(segmenters), special.remark))):
        notes["remarks"] = remarks
    return Bundle(model.eval(), tokenizer, config, languages, longest_source(config), notes=notes)


def _origin(folder: ModelFolder, file: ModelFile, vocabularies: Sequence[Path]) -> dict[str, Any]:
    types = ", ".join(sorted({one.type for name, one in file.variables.items() if name.endswith("weight")}))
    used = [name for name in (WEIGHTS, CONFIG, *(path.name for path in vocabularies)) if name in folder.files]
    return {
        "imported from": folder.path.resolve().name,
        "format": f"CTranslate2, binary version {file.version}, revision {file.revision}, weights in {types}",
        "SHA-256": {name: hashlib.sha256(folder.files[name]).hexdigest() for name in dict.fromkeys(used)},
    }


def _tokenizer(sides: tuple[Side, Side], segmenters: Sequence[Segmenter]) -> VocabularyTokenizer:
    source, target = sides
    target_tokenizer = VocabularyTokenizer(segmenters[-1], target.vocabulary)
    if segmenters[0] is segmenters[-1] and source.vocabulary == target.vocabulary:
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source.vocabulary, target_tokenizer)
