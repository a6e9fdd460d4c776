"""The files of a fairseq model: given one by one, in a folder, or in an archive as the published WMT models are."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from allyouneed.errors import UserError
from allyouneed.untrusted import open_regular

_DICTIONARY = re.compile(r"dict(?:\.(?P<language>[^.]+))?\.txt")
_CODES = re.compile(r"(bpe[._-]?)?codes?(\.[\w-]+)?(\.txt)?|bpecodes.*|.*\.(bpe|codes|bpecodes)", re.I)
_SENTENCEPIECE = re.compile(r".*\.(model|spm)", re.I)
_OTHER = re.compile(r".*\.(md|txt|json|log|bin|idx|vocab|sh|py)|LICEN[CS]E.*|COPYING.*|README.*", re.I)
_MOST_FILES = 1000
_MOST_BYTES = 16 * 2**30  # of an unpacked archive
_BLOCK = 2**20
_PREFERRED = ("model.pt", "checkpoint_best.pt", "checkpoint_last.pt")
_TAKES = "model.pt, dict.SOURCE.txt, dict.TARGET.txt and, if there are, BPE codes or a SentencePiece model"


@dataclass
class ModelFiles:
    """The files of a model.

    Attributes:
        folder: The folder or archive that was given, or the checkpoint.
        checkpoints: Checkpoints, the one to import first.
        dictionaries: Of source and target, or one for both; in a folder, by the languages in their names.
        codes: BPE codes: none, one for both sides, or for source and target.
        sentencepiece: SentencePiece models likewise.
    """

    folder: Path
    checkpoints: list[Path] = field(default_factory=list)
    dictionaries: list[Path] = field(default_factory=list)
    codes: list[Path] = field(default_factory=list)
    sentencepiece: list[Path] = field(default_factory=list)

    @property
    def used(self) -> list[Path]:
        """The files that are read."""
        return [self.checkpoints[0], *self.dictionaries, *self.codes, *self.sentencepiece]

    def ordered_dictionaries(self, source: str | None, target: str | None) -> tuple[Path, Path]:
        """Return the dictionaries of source and target.

        Args:
            source: The source language as the checkpoint names it.
            target: The target language likewise.

        Raises:
            UserError: If it is not clear which they are.
        """
        if len(self.dictionaries) == 1:
            return self.dictionaries[0], self.dictionaries[0]
        by_language = {language_of(path): path for path in self.dictionaries}
        if source in by_language and target in by_language and source != target:
            return by_language[source], by_language[target]
        if len(self.dictionaries) == 2:
            return self.dictionaries[0], self.dictionaries[1]
        raise UserError(f"{self.folder}: has {len(self.dictionaries)} dictionaries. Give the files instead: {_TAKES}.")


def language_of(dictionary: Path) -> str | None:
    """Return the language in the name dict.LANGUAGE.txt, if there is one."""
    match = _DICTIONARY.fullmatch(dictionary.name)
    return match["language"] if match else None


@contextmanager
def open_model_files(paths: Sequence[Path]) -> Iterator[ModelFiles]:
    """Find the files of a model, unpacking an archive to a temporary folder.

    Args:
        paths: A folder, an archive (tar, tar.gz, tar.bz2, tar.xz), or the files.

    Raises:
        UserError: If the checkpoint or the dictionaries are missing, or a file is of no known kind.
    """
    if len(paths) == 1 and paths[0].is_file() and tarfile.is_tarfile(paths[0]) and not _is_checkpoint(paths[0]):
        with TemporaryDirectory() as folder:
            _unpack(paths[0], Path(folder))
            yield _sorted(paths[0], _inside(Path(folder)), is_strict=False)
        return
    if len(paths) == 1 and paths[0].is_dir():
        yield _sorted(paths[0], _inside(paths[0]), is_strict=False)
        return
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: a folder. Give one folder alone, or {_TAKES}.")
    yield _sorted(paths[0], paths, is_strict=True)


def _inside(folder: Path) -> list[Path]:
    """Return the files of a folder, or of its only folder."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if len(entries) == 1 and entries[0].is_dir():
        return _inside(entries[0])
    return [path for path in entries if path.is_file()][:_MOST_FILES]


def _sorted(given: Path, paths: Sequence[Path], is_strict: bool) -> ModelFiles:
    """Tell the kinds of files apart, by their names; given one by one, by their content if the name says nothing."""
    found = ModelFiles(given)
    for path in paths:
        if path.name.endswith(".pt") or (is_strict and _is_checkpoint(path)):
            found.checkpoints.append(path)
        elif _DICTIONARY.fullmatch(path.name):
            found.dictionaries.append(path)
        elif _SENTENCEPIECE.fullmatch(path.name):
            found.sentencepiece.append(path)
        elif _CODES.fullmatch(path.name):
            found.codes.append(path)
        elif is_strict:
            (found.dictionaries if _is_dictionary(path) else found.codes).append(path)
    found.checkpoints.sort(key=lambda path: (_rank(path.name), _natural(path.name)))
    _check(found)
    return found


def _check(found: ModelFiles) -> None:
    if not found.checkpoints:
        raise UserError(f"{found.folder}: no checkpoint (.pt). Give {_TAKES}.")
    if not found.dictionaries:
        raise UserError(
            f"{found.folder}: no dictionary. Give {_TAKES}; fairseq-preprocess writes dictionaries next to its data."
        )
    if found.codes and found.sentencepiece:
        names = ", ".join(path.name for path in (*found.codes, *found.sentencepiece))
        raise UserError(
            f"{found.folder}: BPE codes and a SentencePiece model ({names}). Give the files, with one kind."
        )
    if len(found.codes) > 2 or len(found.sentencepiece) > 2:
        names = ", ".join(path.name for path in (*found.codes, *found.sentencepiece))
        raise UserError(
            f"{found.folder}: more than two files to segment text ({names}). Give the files instead: {_TAKES}."
        )


def _rank(name: str) -> int:
    return _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order model2.pt before model10.pt."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _is_checkpoint(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def _is_dictionary(path: Path) -> bool:
    """Return whether the first line of a text is a token and its count, as opposed to two symbols of BPE."""
    with open_regular(path) as file:
        columns = file.readline(10_000).strip().split(b" ")
    return len(columns) == 2 and columns[1].isdigit()


def _unpack(path: Path, folder: Path) -> None:
    """Unpack the files of an archive, without their folders: names cannot lead elsewhere."""
    total, names = 0, set[str]()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                wanted = member.isfile() and re.fullmatch(r"[\w.-]{1,200}", name) and not name.startswith(".")
                if not wanted or (_OTHER.fullmatch(name) and not _DICTIONARY.fullmatch(name)):
                    continue
                total += member.size
                if total > _MOST_BYTES or total > shutil.disk_usage(folder).free or name in names:
                    raise UserError(
                        f"{path}: too large to unpack, or has two files {name}. Unpack it and give the folder."
                    )
                names.add(name)
                _copy(archive, member, folder / name)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: a damaged archive ({error}). Get the file again.") from error


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, destination: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        return
    with content, open(destination, "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
