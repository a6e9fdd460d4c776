"""Finding the files of a Marian model: in a folder, in a ZIP archive as OPUS-MT distributes it, or named one by one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pydantic import BaseModel

from allyouneed.errors import UserError
from allyouneed.exchange.reading.yaml_text import read_yaml
from allyouneed.untrusted import checked, open_regular
from allyouneed.zip_files import ZipLimits, open_zip, read_entry

_MODELS, _MAPPINGS = (".npz", ".bin"), (".yml", ".yaml", ".json")
_SEGMENTERS = (".spm", ".bpe")
_VOCABULARIES = (*_MAPPINGS, ".spm", ".vocab", ".txt")
_NOT_MODELS = (".optimizer.npz", ".s2t.bin", ".t2s.bin")  # training state and lexical shortlists
_LARGEST_SETTINGS = 1 << 22  # bytes
_LIMITS = ZipLimits(entries=1000, unpacked=1 << 34, entry=1 << 33)
_DECODER = "decoder.yml"
_BLOCK = 1 << 20
_REMEDY = "Give the files: import marian model.npz source.spm target.spm RUN."


@dataclass(frozen=True)
class ModelFiles:
    """Files of a model by name, without folders.

    Attributes:
        name: Name of the folder, archive or model file.
        files: For each name, a function that opens the file.
    """

    name: str
    files: Mapping[str, Callable[[], IO[bytes]]]

    def label(self, name: str) -> str:
        """Return the name of a file for messages."""
        return f"{self.name}: {name}" if name != self.name else name

    def open(self, name: str) -> IO[bytes]:
        """Open a file, which can seek."""
        return self.files[name]()

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: If it has more than `most` bytes.
        """
        with self.open(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UserError(f"{self.label(name)}: has more than {most:,} bytes. It is none of Marian's. {_REMEDY}")
        return content

    def sha256(self, name: str) -> str:
        """Return the checksum of a file."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()


class _Named(BaseModel):
    """The files that settings of the decoder name; a single one need not be a list."""

    models: list[str] | str = []
    vocabs: list[str] | str = []


@dataclass(frozen=True)
class FoundModel:
    """The files of a model by their part in it.

    Attributes:
        files: The files.
        model: Name of the model file.
        vocabularies: Names of the source and target vocabularies.
        segmenters: Names of the SentencePiece models or BPE codes that divide text of source and target into tokens;
            None if there are none.
        decoder: Settings of the decoder as text by name, empty if there are none.
    """

    files: ModelFiles
    model: str
    vocabularies: tuple[str, str]
    segmenters: tuple[str | None, str | None]
    decoder: Mapping[str, Any]


def find_model(paths: Sequence[Path]) -> FoundModel:
    """Find the files of a model.

    Args:
        paths: A folder, a ZIP archive, or a model file and its vocabularies and SentencePiece models.

    Raises:
        UserError: If files are missing or it is not clear which to take.
    """
    if len(paths) > 1 or (paths[0].is_file() and paths[0].name.endswith(_MODELS)):
        return _named(paths)
    files = _of_folder(paths[0]) if paths[0].is_dir() else _of_archive(paths[0])
    decoder = _decoder(files)
    model = _model(files, decoder)
    return _with_vocabularies(files, model, decoder)


def find_weights(path: Path) -> tuple[ModelFiles, str]:
    """Find the model file, without its vocabularies.

    Args:
        path: A folder, a ZIP archive, or a model file.

    Returns:
        The files, and the name of the model file.

    Raises:
        UserError: If it is missing or it is not clear which to take.
    """
    if path.is_file() and path.name.endswith(_MODELS):
        return ModelFiles(path.name, _of_folder(path.parent).files), path.name
    files = _of_folder(path) if path.is_dir() else _of_archive(path)
    return files, _model(files, _decoder(files))


def _named(paths: Sequence[Path]) -> FoundModel:
    models = [path for path in paths if path.name.endswith(_MODELS)]
    if len(models) != 1:
        raise UserError(f"{len(models)} of the files are models (.npz, .bin); one is needed. {_REMEDY}")
    [model] = models
    beside = _of_folder(model.parent)
    decoder = _settings(beside, name) if (name := f"{model.name}.{_DECODER}") in beside.files else {}
    if len(paths) == 1:
        files = ModelFiles(model.name, beside.files)
        return _with_vocabularies(files, model.name, decoder or _decoder(files))
    files = ModelFiles(model.name, {path.name: partial(open_regular, path) for path in paths})
    others = [path.name for path in paths if path != model]
    mappings = [name for name in others if not name.endswith(_SEGMENTERS)]
    pieces = [name for name in others if name.endswith(_SEGMENTERS)]
    vocabularies = mappings or pieces
    has_vocabulary = vocabularies and not vocabularies[0].endswith(".bpe")
    if not has_vocabulary or len(vocabularies) > 2 or len(pieces) > 2 or len(files.files) < len(paths):
        raise UserError(
            f"{model}: give one vocabulary and at most one SentencePiece model for each side, or for both. {_REMEDY}"
        )
    segmenters = _pair(pieces) if pieces else (None, None)
    return FoundModel(files, model.name, _pair(vocabularies), segmenters, decoder)


def _of_folder(folder: Path) -> ModelFiles:
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return ModelFiles(folder.resolve().name, {path.name: partial(open_regular, path) for path in paths})


def _of_archive(path: Path) -> ModelFiles:
    with open_zip(path, path.name, _LIMITS) as archive:
        entries = [entry for entry in archive.namelist() if not entry.endswith("/")]
    names = [PurePosixPath(entry).name for entry in entries]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: has several files of the same name. Unpack it, and import the folder of one model.")
    return ModelFiles(
        path.name, {name: partial(_entry, path, entry) for name, entry in zip(names, entries, strict=True)}
    )


def _entry(path: Path, entry: str) -> IO[bytes]:
    with open_zip(path, path.name, _LIMITS) as archive:
        return io.BytesIO(read_entry(archive, entry, path.name, _LIMITS))


def _decoder(files: ModelFiles) -> Mapping[str, Any]:
    """Read the decoder's settings: `decoder.yml`, or the only YAML file that lists models."""
    if _DECODER in files.files:
        return _settings(files, _DECODER)
    found = {}
    for name in files.files:
        is_settings = name.endswith(f".{_DECODER}") or (name.startswith("config") and name.endswith((".yml", ".yaml")))
        if is_settings and "models" in (settings := _settings(files, name)):
            found[name] = settings
    if len(found) > 1:
        raise UserError(f"{files.name}: has several settings of decoders: {', '.join(found)}. {_REMEDY}")
    return next(iter(found.values()), {})


def _settings(files: ModelFiles, name: str) -> Mapping[str, Any]:
    settings = read_yaml(files.read(name, _LARGEST_SETTINGS).decode("utf-8", "replace"), files.label(name))
    checked(settings, _Named, Path(files.label(name)), _REMEDY)
    return settings


def _model(files: ModelFiles, decoder: Mapping[str, Any]) -> str:
    listed = decoder.get("models", [])
    models = [listed] if isinstance(listed, str) else listed
    if len(models) > 1:
        raise UserError(f"{files.name}: is an ensemble of {len(models)} models. Import one of them. {_REMEDY}")
    if models:
        return _present(files, models[0])
    found = [name for name in files.files if name.endswith(_MODELS) and not name.endswith(_NOT_MODELS)]
    if len(found) != 1:
        raise UserError(
            f"{files.name}: has {len(found)} models (.npz, .bin) and no {_DECODER} that names one. {_REMEDY}"
        )
    return found[0]


def _present(files: ModelFiles, path: object) -> str:
    """Return the name of a file that settings give with its path on another computer."""
    name = PurePosixPath(str(path)).name
    if name not in files.files:
        raise UserError(f"{files.name}: has no {name}, which its settings name. {_REMEDY}")
    return name


def _with_vocabularies(files: ModelFiles, model: str, decoder: Mapping[str, Any]) -> FoundModel:
    listed = decoder.get("vocabs", [])
    names = [_present(files, path) for path in ([listed] if isinstance(listed, str) else listed)] or _vocabularies(
        files
    )
    if len(names) > 2:
        raise UserError(f"{files.name}: has {len(names)} vocabularies; models with one source and one target are read.")
    vocabularies = _pair(names)
    segmenters = [_segmenter(files, side, name) for side, name in zip(("source", "target"), vocabularies, strict=True)]
    return FoundModel(files, model, vocabularies, (segmenters[0], segmenters[1]), decoder)


def _segmenter(files: ModelFiles, side: str, vocabulary: str) -> str | None:
    if vocabulary.endswith(".spm"):
        return vocabulary
    return next((name for suffix in _SEGMENTERS if (name := f"{side}{suffix}") in files.files), None)


def _vocabularies(files: ModelFiles) -> list[str]:
    """Return the vocabularies of a folder whose settings name none: one for both sides, or one for each."""
    candidates = [name for name in files.files if name.endswith(_VOCABULARIES) and "vocab" in name]
    for source in candidates:
        for mark, other in (("src", "trg"), ("src", "tgt"), ("source", "target")):
            if mark in source and (target := source.replace(mark, other)) in candidates:
                return [source, target]
    if len(candidates) != 1:
        raise UserError(f"{files.name}: has {len(candidates)} vocabularies and no settings that name them. {_REMEDY}")
    return candidates


def _pair(names: Sequence[str]) -> tuple[str, str]:
    """Return the names for source and target, of which there may be only one."""
    return names[0], names[-1]
