"""Import of CTranslate2 models: encoder-decoder Transformers of any quantization, dequantised to fp32.

A folder has `model.bin` (`ctranslate2_file.py`), `config.json` and vocabularies (`ctranslate2_vocabulary.py`).
CTranslate2 itself takes and returns subwords, so the SentencePiece models are found in the folder or given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from allyouneed.bundle import Bundle, build_model, load_weights, save_bundle
from allyouneed.config import Config, config_from
from allyouneed.data.tokens.vocabulary import VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2_file import CONFIG, REMEDY, WEIGHTS, ModelFile, ModelFolder, map_folder, read_model
from allyouneed.exchange.ctranslate2_layers import open_variables, read_side
from allyouneed.exchange.ctranslate2_vocabulary import Side, read_sides, read_special_tokens
from allyouneed.exchange.ctranslate2_weights import convert, read_output
from allyouneed.exchange.model_languages import model_languages

_MODELS = (
    ("source.spm", "target.spm"),
    ("source.model", "target.model"),
    ("sentencepiece.model",),
    ("spm.model",),
    ("sentencepiece.bpe.model",),
    ("spiece.model",),
    ("tokenizer.model",),
)
_LARGEST_SEGMENTER = 1 << 28  # bytes
_LONGEST_SOURCE = 512  # tokens; longer sentences are divided, where CTranslate2 truncates those of more than 1,024


def import_ctranslate2(paths: Sequence[Path], run: Path, languages: tuple[str, str] | None = None) -> Bundle:
    """Write `run/bundle` from a CTranslate2 folder.

    Args:
        paths: The folder, and optionally a SentencePiece model for both sides, or one for each.
        run: Folder of the new RUN.
        languages: Codes of source and target.

    Returns:
        The new bundle.

    Raises:
        UserError: If a file is missing or damaged, or the model has parts that a `Transformer` does not have.
    """
    folder, *given = paths
    if not folder.is_dir() or len(given) > 2:
        raise UserError(
            "import ctranslate2 takes a folder with model.bin, then optionally the SentencePiece models of source and "
            "target: import ctranslate2 DIR SOURCE.spm TARGET.spm RUN."
        )
    languages = model_languages(languages, None, None, folder)
    segmenters = [read_segmenter(_read_file(path), path) for path in given or _find_segmenters(folder)]
    bundle = read_bundle(map_folder(folder), segmenters, languages)
    save_bundle(bundle, run / "bundle")
    return bundle


def read_bundle(folder: ModelFolder, segmenters: Sequence[bytes], languages: tuple[str, str]) -> Bundle:
    """Read a CTranslate2 model.

    Args:
        folder: Its files.
        segmenters: A serialised SentencePiece model for both sides, or one for each.
        languages: Codes of source and target.

    Returns:
        The bundle, not yet written.

    Raises:
        UserError: See `import_ctranslate2`.
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
    sections: dict[str, dict[str, Any]] = {"model": settings, **_lengths(settings, file.path)}
    sections["data"]["vocab_size"] = len(vocabularies[0].rows)
    config = config_from(sections, str(folder.path))
    tokenizer = _tokenizer(vocabularies, segmenters)
    model = build_model(config.model, tokenizer)
    load_weights(model, parameters, file.path)
    limit = min(_LONGEST_SOURCE, model.source_embedding.max_positions or _LONGEST_SOURCE)
    notes = _origin(folder, file, [side.path for side in vocabularies])
    return Bundle(model.eval(), tokenizer, config, languages, limit, notes=notes)


def _lengths(settings: dict[str, Any], path: Path) -> dict[str, dict[str, int]]:
    """Return settings of lengths for which there are enough learned positions."""
    usual = Config()
    positions = settings.get("max_positions", usual.data.max_length + usual.search.max_extra_length + 1)
    extra = min(usual.search.max_extra_length, positions // 3)
    if extra < 1:
        raise UserError(f"{path}: has only {positions} positions. {REMEDY}")
    return {
        "data": {"max_length": min(usual.data.max_length, positions - extra - 1)},
        "search": {"max_extra_length": extra},
    }


def _origin(folder: ModelFolder, file: ModelFile, vocabularies: Sequence[Path]) -> dict[str, Any]:
    types = ", ".join(sorted({one.type for name, one in file.variables.items() if name.endswith("weight")}))
    used = [name for name in (WEIGHTS, CONFIG, *(path.name for path in vocabularies)) if name in folder.files]
    return {
        "imported from": folder.path.resolve().name,
        "format": f"CTranslate2, binary version {file.version}, revision {file.revision}, weights in {types}",
        "SHA-256": {name: hashlib.sha256(folder.files[name]).hexdigest() for name in dict.fromkeys(used)},
    }


def _find_segmenters(folder: Path) -> list[Path]:
    for names in _MODELS:
        if all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    usual = ", ".join(names[0] for names in _MODELS)
    raise UserError(
        f"{folder}: has no SentencePiece model ({usual}). Give it: import ctranslate2 DIR MODEL RUN, or one for each "
        "side: DIR SOURCE.spm TARGET.spm RUN."
    )


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST_SEGMENTER + 1)
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}.") from error


def read_segmenter(content: bytes, path: Path) -> bytes:
    """Check that a file's content is a SentencePiece model, and return it.

    Raises:
        UserError: If it is not.
    """
    try:
        if not 0 < len(content) <= _LARGEST_SEGMENTER:
            raise ValueError
        sentencepiece.SentencePieceProcessor().LoadFromSerializedProto(content)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a SentencePiece model.") from error
    return content


def _tokenizer(sides: tuple[Side, Side], segmenters: Sequence[bytes]) -> VocabularyTokenizer:
    source, target = sides
    target_tokenizer = VocabularyTokenizer(segmenters[-1], target.vocabulary)
    if segmenters[0] == segmenters[-1] and source.vocabulary == target.vocabulary:
        return target_tokenizer
    return VocabularyTokenizer(segmenters[0], source.vocabulary, target_tokenizer)
