"""Export to an Argos Translate package, which LibreTranslate installs too: a zip file with a CTranslate2 model."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import sentencepiece

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import TokenTranslator
from allyouneed.exchange.ctranslate2.export import check_ctranslate2, ctranslate2_translator, export_ctranslate2
from allyouneed.exchange.ctranslate2.model_file import FILES
from allyouneed.files import new_folder
from allyouneed.json_text import to_json
from allyouneed.languages import language_name

_SOURCE_MODEL = "sentencepiece.model"  # Argos has one model for both sides; it detokenizes the target by replacing ▁
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # constant, so that exporting a bundle twice gives the same bytes
_MINIMUM_ARGOS_VERSION = "1.9"


def export_argos(bundle: Bundle, folder: Path, quantization: str | None = None) -> Path:
    """Write a folder with `translate-SOURCE_TARGET.argosmodel` and a manifest.

    Args:
        bundle: The bundle to export.
        folder: A new or empty folder.
        quantization: One of `ctranslate2.QUANTIZATIONS`, or None for fp32.

    Returns:
        The path of the package.

    Raises:
        UserError: If the model is multilingual, or see `export_ctranslate2`.
    """
    check_argos(bundle)
    with new_folder(folder) as unfinished, tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        export_ctranslate2(bundle, model, quantization)
        contents = {f"model/{name}": (model / name).read_bytes() for name in FILES if (model / name).exists()}
        contents[_SOURCE_MODEL] = bundle.tokenizer.model
        contents["metadata.json"] = to_json(_metadata(bundle)).encode("utf-8")
        contents["README.md"] = b"Made with allyouneed.\n"
        with zipfile.ZipFile(unfinished / _package_name(bundle), "w", zipfile.ZIP_DEFLATED) as package:
            for name, content in contents.items():
                entry = zipfile.ZipInfo(f"{_root_folder(bundle)}/{name}", _TIMESTAMP)
                entry.compress_type = zipfile.ZIP_DEFLATED
                package.writestr(entry, content)
    return folder / _package_name(bundle)


def check_argos(bundle: Bundle) -> None:
    """Refuse what a package cannot contain.

    Raises:
        UserError: If it cannot be exported.
    """
    if bundle.directions:
        raise UserError("an Argos package has one direction, this model several. Export it as ctranslate2 or marian.")
    check_ctranslate2(bundle)
    _ = bundle.tokenizer.model  # Argos splits text by SentencePiece alone


def argos_translator(folder: Path, bundle: Bundle) -> TokenTranslator:
    """Load an exported package: its model with its own SentencePiece model, unpacked as Argos does.

    Argos Translate itself also splits text into sentences and applies a length penalty of |Y|^0.2.

    Args:
        folder: The folder that `export_argos` wrote.
        bundle: The exported bundle.

    Returns:
        A function from texts and a beam size to target tokens.
    """
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(folder / _package_name(bundle)) as package:
            package.extractall(temporary)
        unpacked = Path(temporary) / _root_folder(bundle)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(unpacked / _SOURCE_MODEL))
        return ctranslate2_translator(unpacked / "model", bundle, lambda text: processor.encode(text, out_type=str))


def _root_folder(bundle: Bundle) -> str:
    return "_".join(bundle.languages)


def _package_name(bundle: Bundle) -> str:
    return f"translate-{_root_folder(bundle)}.argosmodel"


def _metadata(bundle: Bundle) -> dict[str, Any]:
    source, target = bundle.languages
    return {
        "package_version": "1.0",
        "argos_version": _MINIMUM_ARGOS_VERSION,
        "from_code": source,
        "from_name": language_name(source),
        "to_code": target,
        "to_name": language_name(target),
    }
