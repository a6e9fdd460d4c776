"""Prepared text on disk: token ids, tokenizer and statistics of the corpora.

`corpus.json` holds its own checksum and those of the other files, except the stores, which hold theirs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, model_validator

from allyouneed.config import DataConfig
from allyouneed.config.descriptions import shown
from allyouneed.data.corpora import Corpus, total
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.files.opening import stored_in
from allyouneed.data.store import STORE, PairStore, open_store, store_facts, store_is_complete
from allyouneed.data.tokens.vocabulary import AnyTokenizer, load_tokenizers
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import check_files, read_sealed, sha256, write_file, write_sealed
from allyouneed.untrusted import read_typed

_CORPORA = "corpora"  # statistics of each corpus, where there are several
_ORIGIN = "origin"  # text and settings
_CONTENTS = "contents"  # checksums of the text
_SUMS = "files"  # checksums of the other files in the folder


def origin_of(
    train: Sequence[Corpus], valid: Sequence[Corpus] | None, data: DataConfig, languages: Sequence[str] | None
) -> dict[str, Any]:
    """Describe text by the names and sizes of its files, and settings by their values, as strings and numbers."""
    text = {
        name: [[[path.name, _size(path)] for path in each.paths] for each in corpora]
        for name, corpora in (("--train", train), ("--valid", valid or ()))
    }
    settings = {f"data.{name}": value for name, value in data.model_dump(mode="json").items()}
    return {**text, "languages": list(languages or ()), **settings}


def contents_of(corpora: Sequence[Corpus], checksum: Callable[[Path], str] = sha256) -> list[list[str]]:
    """Return the name and the checksum of each file of corpora, in their order."""
    return [[file.name, checksum(file)] for file in _all_files(corpora)]


def _all_files(corpora: Sequence[Corpus]) -> list[Path]:
    return list(dict.fromkeys(file for each in corpora for path in each.paths for file in _files(stored_in(path))))


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    return sum(each.stat().st_size for each in _files(path))


def _files(path: Path) -> list[Path]:
    return [each for each in (sorted(path.rglob("*")) if path.is_dir() else [path]) if each.is_file()]


class _Texts(BaseModel):
    """Content of `valid.json`."""

    pairs: list[tuple[str, str]]


class _Content(BaseModel):
    """Content of `corpus.json`; earlier versions wrote no checksums, no origin and no checksums of the text."""

    train: CorpusReport
    valid: CorpusReport
    corpora: dict[str, list[CorpusReport]] = {}
    origin: dict[str, Any] | None = None
    contents: list[tuple[str, str]] | None = None
    files: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_lines(self) -> _Content:
        for report in (self.train, self.valid, *(each for part in self.corpora.values() for each in part)):
            try:
                _ = list(report.lines())
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"a report lacks an entry, or it has another type ({error})") from error
        return self


class PreparedData:
    """Contents of a RUN's `data` folder; `corpus.json` is written last and marks the folder as complete.

    Each file is read and verified once, when it is needed first; token ids as `data.store` describes.

    Args:
        folder: The folder.
        memory: Bytes up to which the token ids of a store are kept in memory, see `open_store`.
    """

    def __init__(self, folder: Path, memory: int = 0):
        self.folder, self._memory = folder, memory
        self.train, self.valid = folder / "train", folder / "valid"
        self.blocks = folder / "blocks"  # finished blocks of text that is being prepared
        self.dropped, self.repaired = folder / "dropped.tsv", folder / "repaired.tsv"
        self.report_file, self._texts = folder / "corpus.json", folder / "valid.json"

    @property
    def is_complete(self) -> bool:
        """Return whether `prepare` has finished and both stores exist."""
        return self.report_file.is_file() and store_is_complete(self.train) and store_is_complete(self.valid)

    @cached_property
    def train_pairs(self) -> PairStore:
        """The training pairs; raises the errors of `open_store`."""
        return self._open(self.train)

    @cached_property
    def valid_pairs(self) -> PairStore:
        """The validation pairs; raises the errors of `open_store`."""
        return self._open(self.valid)

    def identity(self) -> str | None:
        """Return a checksum of the tokenizer, the token ids and the validation text; None for an earlier version's.

        Raises:
            UserError: If a file is missing, damaged or cannot be read.
        """
        stores = [store_facts(folder, self._remedy).get("crc32") for folder in (self.train, self.valid)]
        sums = self._sums_used
        return hashlib.sha256(json.dumps([stores, sums]).encode()).hexdigest() if sums and all(stores) else None

    def verify(self) -> bool:
        """Compare all files with their checksums; return whether they have some: earlier versions wrote none.

        Raises:
            UserError: If a file is missing, damaged or cannot be read.
        """
        for path in (self.report_file, self.train / STORE, self.valid / STORE):
            if not path.is_file():
                raise DamagedFile(f"{path}: missing. {self._remedy}")
        for store in (self.train_pairs, self.valid_pairs):
            store.verify()
        check_files(
            self.folder, {name: self._sums[name] for name in self._listings if name in self._sums}, self._remedy
        )
        return self.identity() is not None

    def report(self) -> dict[str, dict[str, Any]]:
        """Read the statistics of the training and the validation text, {"train": ..., "valid": ...}.

        Each is a `CorpusReport`, of several corpora in sum.

        Raises:
            UserError: If the file is missing or damaged.
        """
        content = self._content
        return {"train": content["train"], "valid": content["valid"]}

    def corpora(self, part: str = "train") -> list[dict[str, Any]]:
        """Read the statistics of each corpus of "train" or "valid", in the order of its pairs in the store.

        Raises:
            UserError: If the file is missing or damaged.
        """
        content = self._content
        return content.get(_CORPORA, {}).get(part) or [content[part]]

    def reports(self) -> dict[str, dict[str, Any]]:
        """Read all statistics by a title: each corpus if there are several, and their sum.

        Raises:
            UserError: If the file is missing or damaged.
        """
        titled: dict[str, dict[str, Any]] = {}
        for part, whole in self.report().items():
            several = self.corpora(part) if len(self.corpora(part)) > 1 else []
            titled |= {f"{part} {number}": report for number, report in enumerate(several, start=1)}
            titled[f"{part} in all" if several else part] = whole
        return titled

    def tokenizer(self) -> AnyTokenizer:
        """Load the tokenizer that produced the token ids.

        Raises:
            UserError: If its files are missing, damaged or cannot be read.
        """
        return self._tokenizer

    def valid_texts(self) -> list[tuple[str, str]]:
        """Read the validation pairs as text, (source, reference).

        Raises:
            UserError: If the file is missing, damaged or cannot be read.
        """
        return self._valid_texts

    def report_lines(self) -> Iterator[str]:
        """Yield the lines of a readable report on each corpus, and the numbers of all if there are several."""
        for part, whole in self.report().items():
            corpora = self.corpora(part)
            for report in corpora:
                yield from CorpusReport(**report).lines()
            if len(corpora) > 1:
                yield f"{part}, {len(corpora)} corpora: {whole['pairs']:,} pairs, {whole['kept']:,} kept"

    def check_origin(self, origin: dict[str, Any]) -> None:
        """Check that the folder was prepared from this text with these settings; earlier versions did not store them.

        Args:
            origin: What `origin_of` returns for the text and the settings.

        Raises:
            UserError: If the folder was prepared from other text or settings, or is damaged.
        """
        stored = self._content.get(_ORIGIN) or origin
        for name, now in origin.items():
            before = stored.get(name, now)
            if before != now:
                raise UserError(
                    f"{self.folder} was prepared with {name} = {shown(before)}, now {shown(now)}. Give the same text "
                    "and settings, or another folder: --data FOLDER."
                )

    def check_contents(self, corpora: Sequence[Corpus], checksum: Callable[[Path], str] = sha256) -> None:
        """Check that files have the content that they had when the folder was prepared, whatever their times are.

        Args:
            corpora: The text, with the names and sizes of `check_origin`.
            checksum: Returns the SHA-256 of a file.

        Raises:
            UserError: If a file has another content, or cannot be read.
        """
        stored = self._content.get(_CONTENTS)  # earlier versions did not store it
        now = contents_of(corpora, checksum)
        for file, before, found in zip(_all_files(corpora), stored or now, now, strict=False):
            if before != found:
                raise UserError(
                    f"{file} has changed since {self.folder} was prepared from it. Give the same text, another folder: "
                    f"--data FOLDER, or delete {self.folder} to prepare it again."
                )

    def finish(
        self,
        tokenizer: AnyTokenizer,
        texts: list[tuple[str, str]],
        reports: dict[str, list[CorpusReport]],
        origin: dict[str, Any],
        contents: list[list[str]],
    ) -> None:
        """Write the texts, the tokenizer and the reports, which completes the folder.

        Args:
            tokenizer: The tokenizer of the token ids.
            texts: The validation pairs as text.
            reports: Statistics of each corpus, of "train" and "valid".
            origin: The text and the settings, see `origin_of`.
            contents: Checksums of the text, see `contents_of`.

        Raises:
            UserError: If a file cannot be written, for example because the disk is full.
        """
        write_file(self._texts, json.dumps({"pairs": texts}, ensure_ascii=False))
        for name, file in tokenizer.files().items():
            write_file(self.folder / name, file)
        content: dict[str, Any] = {part: total(corpora).as_dict() for part, corpora in reports.items()}
        several = {part: [each.as_dict() for each in corpora] for part, corpora in reports.items() if len(corpora) > 1}
        facts = {**({_CORPORA: several} if several else {}), _ORIGIN: origin, _CONTENTS: contents}
        names = (self._texts.name, *tokenizer.files(), *self._listings)
        sums = {name: sha256(self.folder / name) for name in names}
        write_sealed(self.report_file, {**content, **facts, _SUMS: sums})
        shutil.rmtree(self.blocks, ignore_errors=True)

    def _open(self, folder: Path) -> PairStore:
        tokenizer = self.tokenizer()
        return open_store(folder, self._remedy, (len(tokenizer), len(tokenizer.target)), self._memory)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return read_sealed(self.report_file, _Content, self._remedy)[0]

    @property
    def _sums(self) -> dict[str, str]:
        return self._content.get(_SUMS, {})

    @cached_property
    def _sums_used(self) -> dict[str, str]:
        """Checksums of the files that results depend on, which are verified: not the listings."""
        sums = {name: value for name, value in self._sums.items() if name not in self._listings}
        check_files(self.folder, sums, self._remedy)
        return sums

    @cached_property
    def _tokenizer(self) -> AnyTokenizer:
        _ = self._sums_used
        return load_tokenizers(self.folder)

    @cached_property
    def _valid_texts(self) -> list[tuple[str, str]]:
        _ = self._sums_used
        return read_typed(self._texts, _Texts, self._remedy).pairs

    @property
    def _listings(self) -> tuple[str, str]:
        return self.dropped.name, self.repaired.name

    @property
    def _remedy(self) -> str:
        return f"Delete {self.folder} and run the same command again: it prepares the same text, and training goes on."
