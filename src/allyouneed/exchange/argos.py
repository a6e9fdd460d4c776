"""A bundle as an Argos Translate package, which LibreTranslate installs too: a zip with a CTranslate2 model inside."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import babel
import sentencepiece

from allyouneed.bundle import Bundle
from allyouneed.exchange.agreement import Speaker
from allyouneed.exchange.ctranslate2 import ctranslate2_translator, export_ctranslate2
from allyouneed.files import new_folder, to_json

_SOURCE_MODEL = "sentencepiece.model"  # Argos has one for both sides, and joins the target's subwords at ▁
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same bundle gives the same bytes
_OLDEST_ARGOS = "1.9"


def export_argos(bundle: Bundle, folder: Path, quantization: str | None = None) -> Path:
    """Writes `folder/translate-de_en.argosmodel` and a manifest; returns the package's path.

    Errors: `UserError` as `export_ctranslate2`.
    """
    with new_folder(folder) as beside, tempfile.TemporaryDirectory() as place:
        export_ctranslate2(bundle, Path(place) / "model", quantization)
        contents = {f"model/{path.name}": path.read_bytes() for path in sorted((Path(place) / "model").iterdir())}
        contents[_SOURCE_MODEL] = bundle.tokenizer.model
        contents["metadata.json"] = to_json(_metadata(bundle)).encode("utf-8")
        contents["README.md"] = b"Made with allyouneed.\n"
        with zipfile.ZipFile(beside / _name(bundle), "w", zipfile.ZIP_DEFLATED) as package:
            for name, content in contents.items():
                entry = zipfile.ZipInfo(f"{_top(bundle)}/{name}", _LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                package.writestr(entry, content)
    return folder / _name(bundle)


def argos_translator(folder: Path, bundle: Bundle) -> Speaker:
    """What the package says: its model behind its own SentencePiece model, unpacked as Argos unpacks it.

    Argos itself searches with a length penalty of its own (|Y|^0.2) and cuts text into sentences before.
    """
    place = tempfile.TemporaryDirectory()
    with zipfile.ZipFile(folder / _name(bundle)) as package:
        package.extractall(place.name)
    unpacked = Path(place.name) / _top(bundle)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(unpacked / _SOURCE_MODEL))
    translator = ctranslate2_translator(unpacked / "model", bundle, lambda text: processor.encode(text, out_type=str))

    def translate(texts: Sequence[str], beam_size: int, _kept: object = place) -> list[list[str]]:
        return translator(texts, beam_size)

    return translate


def _top(bundle: Bundle) -> str:
    return "_".join(bundle.languages)


def _name(bundle: Bundle) -> str:
    return f"translate-{_top(bundle)}.argosmodel"


def _metadata(bundle: Bundle) -> dict[str, Any]:
    source, target = bundle.languages
    return {
        "package_version": "1.0",
        "argos_version": _OLDEST_ARGOS,
        "from_code": source,
        "from_name": _language_name(source),
        "to_code": target,
        "to_name": _language_name(target),
    }


def _language_name(code: str) -> str:
    try:
        return babel.Locale.parse(code, sep="-").english_name or code
    except (babel.UnknownLocaleError, ValueError):
        return code
