"""Import of Argos Translate packages: ZIP files with a CTranslate2 model, a SentencePiece or BPE model and languages.

Only the files that are needed are read, into memory. Packages also have models of other programs (Stanza, spaCy,
MiniSBD) that split text into sentences; they are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from pydantic import BaseModel, StrictStr

from allyouneed.bundle import Bundle
from allyouneed.data.tokens.segmenters import Moses, Segmenter
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.importer import read_bundle
from allyouneed.exchange.ctranslate2.model_file import FILES, ModelFolder
from allyouneed.exchange.reading.licence import LICENCE_FILES, MOST_LICENCE, licence_in
from allyouneed.exchange.reading.model_languages import model_languages
from allyouneed.exchange.reading.segmenter_files import segmenter_of
from allyouneed.files import sha256
from allyouneed.untrusted import checked, parse_json
from allyouneed.zip_files import ZipLimits, open_zip, read_entry

_METADATA, _SEGMENTER, _BPE = "metadata.json", "sentencepiece.model", "bpe.model"
_LIMITS = ZipLimits(entries=65_535, unpacked=1 << 33, entry=1 << 32)
_LARGEST_METADATA = 1 << 20
_OWN_CODES = {"pb": "pt-BR", "zt": "zh-Hant"}  # codes that only Argos uses
_REMEDY = "Download the package again."


def read_argos(paths: Sequence[Path], languages: tuple[str, str] | None = None) -> Bundle:
    """Read an Argos package.

    Args:
        paths: The package, a file `*.argosmodel`.
        languages: Codes of source and target; None reads them from the package.

    Returns:
        The bundle.

    Raises:
        UserError: If the package is damaged or unsafe, has no translation model, or see `read_ctranslate2`.
    """
    if len(paths) != 1 or not paths[0].is_file():
        raise UserError("import argos takes one package: import argos FILE.argosmodel RUN.")
    [path] = paths
    with open_zip(path, str(path), _LIMITS) as archive:
        root = _root(archive, path)
        metadata = _metadata(archive, f"{root}{_METADATA}", path)
        names = set(archive.namelist())
        codes = metadata.from_code, metadata.to_code
        source, target = (_OWN_CODES.get(str(code), code) for code in codes)
        languages = model_languages(languages, source, target, path)
        segmenters = _segmenters(archive, root, path, codes)
        licences = (licence_in(name, _text(archive, f"{root}{name}", path)) for name in LICENCE_FILES)
        licence = next(filter(None, licences), None)
        entries = {name: f"{root}model/{name}" for name in FILES if f"{root}model/{name}" in names}
        files = {name: memoryview(_read(archive, entry, path)) for name, entry in entries.items()}
    bundle = read_bundle(ModelFolder(path / "model", files), segmenters, languages)
    bundle.notes |= {"imported from": path.name, "package": _version(metadata)}
    bundle.notes |= {"licence": licence} if licence else {}
    bundle.notes["SHA-256"] = {path.name: sha256(path)}
    return bundle


class _Metadata(BaseModel):
    """Content of `metadata.json`; other names are ignored."""

    type: StrictStr = "translate"
    from_code: StrictStr | None = None
    to_code: StrictStr | None = None
    target_prefix: StrictStr | None = None
    package_version: StrictStr | float = "?"
    argos_version: StrictStr | float = "?"


def _root(archive: ZipFile, path: Path) -> str:
    """Return the folder of the package in the archive, with a slash, or an empty text."""
    found = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == _METADATA and name.count("/") <= 1]
    if len(found) != 1:
        raise UserError(f"{path}: has {len(found)} files {_METADATA}; an Argos package has one. {_REMEDY}")
    return found[0].removesuffix(_METADATA)


def _segmenters(archive: ZipFile, root: str, path: Path, codes: tuple[object, object]) -> list[Segmenter]:
    """Read what divides text: a SentencePiece model, or BPE after the Moses tokenizer and its rules for punctuation."""
    names = archive.namelist()
    name = next((name for name in (_SEGMENTER, _BPE) if f"{root}{name}" in names), None)
    if name is None:
        raise UserError(f"{path}: has neither {_SEGMENTER} nor {_BPE}. {_REMEDY}")
    content = _read(archive, f"{root}{name}", path)
    if name == _SEGMENTER:
        return [segmenter_of(content, path / name)]
    rules = [Moses(str(code), dashes=False, punctuation=True) for code in codes]
    return [segmenter_of(content, path / name, moses=each) for each in rules]


def _metadata(archive: ZipFile, entry: str, path: Path) -> _Metadata:
    try:
        content = _read(archive, entry, path)
        if len(content) > _LARGEST_METADATA:
            raise ValueError("too large")
        metadata = checked(parse_json(content), _Metadata, path / _METADATA, _REMEDY)
    except ValueError as error:
        raise UserError(
            f"{path}: {_METADATA} is not valid JSON of at most {_LARGEST_METADATA >> 20} MiB. {_REMEDY}"
        ) from error
    if metadata.type != "translate":
        raise UserError(f"{path}: {_METADATA}: type = {metadata.type!r}; only translate can be imported.")
    if metadata.target_prefix:
        raise UserError(
            f"{path}: {_METADATA}: target_prefix = {metadata.target_prefix!r}: a model whose translations have to "
            "begin with a given token is not supported."
        )
    return metadata


def _version(metadata: _Metadata) -> str:
    parts = (str(version)[:100] for version in (metadata.package_version, metadata.argos_version))
    return "Argos {}, for Argos Translate {}".format(*parts)


def _text(archive: ZipFile, entry: str, path: Path) -> str:
    return _read(archive, entry, path)[:MOST_LICENCE].decode("utf-8", "replace") if entry in archive.namelist() else ""


def _read(archive: ZipFile, entry: str, path: Path) -> bytes:
    return read_entry(archive, entry, str(path), _LIMITS)
