"""Data preparation: from text files to a tokenizer and token ids on disk, with a report of dropped pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from allyouneed.config import DataConfig
from allyouneed.data.corpus import CorpusReport, PairChecks, count_pairs, usable_text
from allyouneed.data.formats import RawPair, read_pairs
from allyouneed.data.store import store_is_complete, write_store
from allyouneed.data.tokenizer import Tokenizer
from allyouneed.data.tokenizer_training import learn_tokenizer
from allyouneed.data.vocabulary import AnyTokenizer, load_tokenizers
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, read_json, to_json, write_file

_CHUNK = 10_000  # pairs encoded at a time
_TOKENIZER_PAIRS = 1_000_000  # pairs, distributed over the corpus, on which the tokenizer is trained
_HELD_OUT = 1000  # approximate number of pairs for validation if no files are given


class PreparedData:
    """Contents of a RUN's `data` folder; `corpus.json` is written last and marks the folder as complete."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.train, self.valid = folder / "train", folder / "valid"
        self.dropped = folder / "dropped.tsv"
        self._report, self._texts = folder / "corpus.json", folder / "valid.json"

    @property
    def is_complete(self) -> bool:
        """Return whether `prepare` has finished and both stores exist."""
        return self._report.is_file() and store_is_complete(self.train) and store_is_complete(self.valid)

    def report(self) -> dict[str, dict[str, Any]]:
        """Read the statistics of both corpora, {"train": ..., "valid": ...}, see `CorpusReport`.

        Raises:
            UserError: If the file is missing or damaged.
        """
        return read_json(self._report, self._remedy, lambda report: (report["train"], report["valid"]))

    def tokenizer(self) -> AnyTokenizer:
        """Load the tokenizer that produced the token ids.

        Raises:
            UserError: If its files are missing or damaged.
        """
        return load_tokenizers(self.folder)

    def valid_texts(self) -> list[tuple[str, str]]:
        """Read the validation pairs as text, (source, reference).

        Raises:
            UserError: If the file is missing or damaged.
        """
        return [tuple(pair) for pair in read_json(self._texts, self._remedy, lambda texts: texts["pairs"])["pairs"]]

    def finish(self, tokenizer: AnyTokenizer, texts: list[tuple[str, str]], reports: dict[str, CorpusReport]) -> None:
        """Write the texts, the tokenizer and the reports, which completes the folder.

        Raises:
            UserError: If a file cannot be written, for example because the disk is full.
        """
        write_file(self._texts, json.dumps({"pairs": texts}, ensure_ascii=False))
        for name, content in tokenizer.files().items():
            write_file(self.folder / name, content)
        write_file(self._report, to_json({name: report.as_dict() for name, report in reports.items()}))

    @property
    def _remedy(self) -> str:
        return f"Delete {self.folder} and run the same command again."


def prepare(
    folder: Path,
    train: Sequence[Path],
    valid: Sequence[Path] | None,
    data: DataConfig,
    say: Callable[[str], None],
    tokenizer: AnyTokenizer | None = None,
    adjustable: bool = False,
) -> PreparedData:
    """Train a tokenizer, encode both corpora and write them to `folder`, unless this has been done before.

    Args:
        folder: Destination, a RUN's `data` folder.
        train: One TSV file or two parallel files.
        valid: Validation text, in the same form. If None, about 1,000 pairs of the training text are held out, selected
            by a hash of the source, so that pairs with equal sources are not separated.
        data: Settings.
        say: Receives progress messages.
        tokenizer: An existing tokenizer, for further training of a model.
        adjustable: Whether `data.vocab_size` may be raised if it leaves too little room beside the text's characters.

    Returns:
        The prepared data.

    Raises:
        UserError: If no usable pairs remain for training or validation, the text has another encoding, or the folder
            cannot be written.
    """
    prepared, valid = PreparedData(folder), valid or None
    if prepared.is_complete:
        return prepared
    pairs = count_pairs(train)
    if valid:
        count_pairs(valid)
    stride = None if valid else max(20, pairs // _HELD_OUT)
    if tokenizer is None:
        say(f"training the tokenizer: {data.vocab_size:,} subwords ...")
        text_checks = PairChecks(data.max_length, data.max_ratio, duplicates=False)
        every = max(1, pairs // _TOKENIZER_PAIRS)
        usable = islice(usable_text(train, data.columns, text_checks), 0, None, every)
        sentences = (text for pair in usable if not is_held_out(pair, stride) for text in (pair.source, pair.target))
        tokenizer = _learn_tokenizer(sentences, data, train, adjustable)
        if len(tokenizer) < data.vocab_size:
            say(f"the text supports {len(tokenizer):,} subwords, not {data.vocab_size:,}")
        elif len(tokenizer) > data.vocab_size:
            say(f"{len(tokenizer):,} subwords instead of {data.vocab_size:,}, since this text has many characters")
    texts: list[tuple[str, str]] = []
    with _open_dropped(prepared.dropped) as dropped:
        corpus = _Corpus(train, data, tokenizer, dropped)
        write_store(prepared.train, corpus.encoded(lambda pair: not is_held_out(pair, stride)))
        corpus.report.check_usable()
        held_out = _Corpus(valid or train, data, tokenizer, dropped, duplicates=valid is None)
        write_store(
            prepared.valid, held_out.encoded(lambda pair: valid is not None or is_held_out(pair, stride), texts)
        )
        if valid is None and held_out.report.kept == 0:
            raise UserError(
                f"{' and '.join(map(str, train))}: too few pairs to hold out some of them for validation. "
                "Give a validation set: --valid SOURCE TARGET."
            )
        held_out.report.check_usable()
    if valid is None:
        say(f"no --valid given: {held_out.report.kept:,} training pairs are held out for validation")
    prepared.finish(tokenizer, texts, {"train": corpus.report, "valid": held_out.report})
    return prepared


class _Corpus:
    """Encodes one corpus: checks each pair, collects statistics and lists dropped pairs."""

    def __init__(
        self,
        paths: Sequence[Path],
        data: DataConfig,
        tokenizer: AnyTokenizer,
        dropped: TextIO,
        duplicates: bool = True,
    ):
        self.paths, self.data, self.tokenizer, self.dropped = paths, data, tokenizer, dropped
        self.checks = PairChecks(data.max_length, data.max_ratio, duplicates)
        self.report = CorpusReport([str(path) for path in paths])

    def encoded(
        self, selected: Callable[[RawPair], bool], texts: list[tuple[str, str]] | None = None
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids of selected pairs that pass all checks, and append their texts to `texts` if given."""
        pairs = (pair for pair in read_pairs(self.paths, self.data.columns) if selected(pair))
        while chunk := list(islice(pairs, _CHUNK)):
            self.report.pairs += len(chunk)
            valid = [pair for pair in chunk if not self._dropped(pair, self.checks.text_fault(pair))]
            sources = self.tokenizer.encode_all([pair.source for pair in valid])
            targets = self.tokenizer.target.encode_all([pair.target for pair in valid])
            for pair, source, target in zip(valid, sources, targets, strict=True):
                if self._dropped(pair, self.checks.length_fault(len(source), len(target))):
                    continue
                self._count(source, target)
                if texts is not None:
                    texts.append((pair.source, pair.target))
                yield source, target

    def _dropped(self, pair: RawPair, reason: str | None) -> bool:
        if reason is None:
            return False
        self.report.drop(pair, reason)
        cells = (self.report.files[0], str(pair.line), reason, pair.source, pair.target)
        self.dropped.write("\t".join(cell.replace("\t", " ") for cell in cells) + "\n")
        return True

    def _count(self, source: list[int], target: list[int]) -> None:
        report = self.report
        report.kept += 1
        report.source_tokens += len(source)
        report.target_tokens += len(target)
        report.longest_source = max(report.longest_source, len(source) + 1)


def _learn_tokenizer(sentences: Iterator[str], data: DataConfig, train: Sequence[Path], adjustable: bool) -> Tokenizer:
    try:
        return learn_tokenizer(sentences, data.vocab_size, data.subwords, data.character_coverage, adjustable)
    except UserError as error:
        _text_report(train, data).check_usable()  # raises a more specific error if the text is unusable
        raise UserError(f"{' and '.join(map(str, train))}: {error}") from error


def _text_report(paths: Sequence[Path], data: DataConfig) -> CorpusReport:
    report, checks = CorpusReport([str(path) for path in paths]), PairChecks(data.max_length, data.max_ratio, False)
    for pair in read_pairs(paths, data.columns):
        report.pairs += 1
        fault = checks.text_fault(pair)
        if fault:
            report.drop(pair, fault)
        else:
            report.kept += 1
    return report


def is_held_out(pair: RawPair, stride: int | None) -> bool:
    """Return whether a pair belongs to the validation set: one in `stride` sources, chosen by hash; none if None."""
    if stride is None:
        return False
    return int.from_bytes(hashlib.blake2b(pair.source.encode(), digest_size=8).digest(), "little") % stride == 0


@contextmanager
def _open_dropped(path: Path) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:  # for file names that are not UTF-8
            file.write("file\tline\treason\tsource\ttarget\n")
            yield file
    except OSError as error:
        raise cannot_write(path, error) from error
