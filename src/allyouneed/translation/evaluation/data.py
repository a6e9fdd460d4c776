"""Test sets: parallel text in which no line may be dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import RawPair, columns_for, has_both_sides, read_pairs, reading_notes
from allyouneed.data.files.grouping import contents
from allyouneed.data.files.lines import read_text
from allyouneed.data.files.selection import AnyColumns
from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.errors import UserError
from allyouneed.languages import primary
from allyouneed.translation.evaluation.bleu_tokenizers import NO_LANGUAGE
from allyouneed.translation.evaluation.sacrebleu_sets import is_set_name, read_named_set, refuse_without_pair


@dataclass(frozen=True)
class TestSet:
    """Sources with one or several references.

    Attributes:
        name: Name for messages: the first file, or the name of a test set of sacreBLEU.
        lines: Line number of each sentence, from 1.
        sources: Source sentences; None if only references were given.
        references: References, [reference][sentence].
        languages: Codes of source and target, if the test set has them.
    """

    __test__ = False  # not a test of pytest

    name: str
    lines: list[int]
    sources: list[str] | None
    references: list[list[str]]
    languages: tuple[str, str] | None = None

    @property
    def language(self) -> str | None:
        """Code of the target language, if the test set has one."""
        return self.languages[1] if self.languages else None

    def check_direction(self, languages: Sequence[str]) -> None:
        """Raise `UserError` if the test set is known to be of other languages than a translator.

        Args:
            languages: Codes of the translator's source and target language.
        """
        given = self.languages or ()
        for own, other in zip(map(primary, given), map(primary, languages), strict=False):
            if own != other and other not in NO_LANGUAGE and not other.startswith("x-"):
                raise UserError(
                    f"{self.name}: a test set from {' to '.join(given)}, but the translator translates from "
                    f"{' to '.join(languages)}."
                )

    def normalised(self) -> TestSet:
        """Return a copy whose references are in Unicode NFC, as translations of a model are."""
        references = [[to_nfc(text) for text in texts] for texts in self.references]
        return TestSet(self.name, self.lines, self.sources, references, self.languages)


def read_test(
    files: Sequence[Path],
    columns: AnyColumns = (1, 2),
    extra_references: Sequence[Path] = (),
    languages: Sequence[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> TestSet:
    """Read a test set.

    Args:
        files: Source and one or several references; one file of pairs; a test set of sacreBLEU such as "wmt14/en-de";
            or nothing, or the source alone, if there are extra references.
        columns: Columns of source and target in a table, by number from 1 or by name.
        extra_references: Plain files of further references.
        languages: Codes of source and target, by which a header selects the columns of a file.
        report: Called with remarks on how a file is read.

    Raises:
        UserError: If a file cannot be read, files are empty or differ in length, or a line is broken.
    """
    more = [*files[2:], *extra_references]
    if not files and not more:
        raise UserError("give a test set: --test SOURCE TARGET, or with translations in files --reference FILE.")
    if len(files) == 1 and not files[0].exists():
        refuse_without_pair(files[0].as_posix())
    if len(files) == 1 and not files[0].exists() and is_set_name(files[0].as_posix()):
        named = read_named_set(files[0].as_posix())
        lines = _numbers(named.sources)
        found = TestSet(files[0].as_posix(), lines, named.sources, named.references, named.languages)
    elif more and (not files or (len(files) == 1 and not _has_pairs(files[0]))):
        sources = _plain(files[0]) if files else None
        first, *more = more
        references = _plain(first)
        if sources is not None:
            _check_length(files[0], sources, first, references)
        found = TestSet(str(first), _numbers(references), sources, [references])
    else:
        pairs = read_test_set(files[:2], columns, languages, report)
        sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
        found = TestSet(str(files[0]), [pair.line for pair in pairs], sources, [references])
    for path in more:
        found.references.append(read_translations(path, found))
    return found


def read_translations(path: Path, test: TestSet) -> list[str]:
    """Read a plain file with one line for each sentence of a test set: translations, or another reference.

    Raises:
        UserError: If the file cannot be read, or has another number of lines.
    """
    lines = _plain(path)
    _check_length(Path(test.name), test.references[0], path, lines)
    return lines


def read_test_set(
    files: Sequence[str | Path],
    columns: AnyColumns,
    languages: Sequence[str] | None = None,
    report: Callable[[str], None] | None = None,
) -> list[RawPair]:
    """Read all pairs of two parallel text files, or of one file or folder with both sides. Pipes are read, too.

    Args:
        files: Paths of the files; of a data set, the part `test` is read.
        columns: Columns of source and target in a table, by number from 1 or by name.
        languages: Codes of source and target, by which a header selects the columns of a file.
        report: Called with remarks on how a file is read.

    Raises:
        UserError: If a file cannot be read, the files are empty or differ in length, or a line is broken.
    """
    paths = contents(Path(files[0]), "test") if len(files) == 1 else [Path(file) for file in files]
    if not any(map(_is_pipe, paths)):
        if languages:
            columns = columns_for(paths, columns, languages)
        if report:
            for note in reading_notes(paths, columns):
                report(note)
        count_pairs(paths, columns)
    pairs = list(read_pairs(paths, columns))
    if not pairs:
        raise UserError(f"{paths[0]}: the file is empty.")
    for pair in pairs:
        if pair.fault:
            raise UserError(
                f"{pair.file or paths[0]}:{pair.line}: {pair.fault}. Fix the line, or remove it from both sides."
            )
    return pairs


def _is_pipe(path: Path) -> bool:
    """Return whether a path can be read only once."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _plain(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path)]
    if not lines:
        raise UserError(f"{path}: the file is empty.")
    return lines


def _has_pairs(path: Path) -> bool:
    """Return whether a single file has source and target, not the source alone."""
    return path.is_dir() or (path.is_file() and has_both_sides(path))


def _numbers(lines: Sequence[str]) -> list[int]:
    return list(range(1, len(lines) + 1))


def _check_length(first: Path, lines: Sequence[str], second: Path, others: Sequence[str]) -> None:
    if len(lines) != len(others):
        raise UserError(f"{second} has {len(others):,} lines, {first} has {len(lines):,}. Give one line per sentence.")
