"""Dictionaries of fairseq: a token and its count a line, after four special tokens that the file does not have."""

from __future__ import annotations

from pathlib import Path

from allyouneed.data.tokens.vocabulary import Vocabulary
from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.untrusted import cannot_read, read_regular

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # in the order of their rows
_START, _PAD, _END, _UNKNOWN = range(4)
_OVERWRITE = "#fairseq:overwrite"
_MOST_BYTES = 1 << 26


def read_dictionary(path: Path) -> list[str]:
    """Read the tokens of a dictionary in the order of their rows, the special tokens first.

    A token with the mark `#fairseq:overwrite` may be in the list twice: then its last row counts.

    Raises:
        UserError: If the file cannot be read, or is not a dictionary.
    """
    try:
        lines = read_regular(path, _MOST_BYTES).decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except OSError as error:
        raise cannot_read(path, error, "Give dict.LANGUAGE.txt of fairseq-preprocess.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    names, seen = list(_SPECIAL), set(_SPECIAL)
    for number, line in enumerate(lines, 1):
        token, _, count = line.rstrip().rpartition(" ")
        may_repeat = count == _OVERWRITE
        if may_repeat:
            token, _, count = token.rpartition(" ")
        if not token or not count.lstrip("-").isdecimal():
            raise UserError(
                f"{path}, line {number}: not a token and its count. Give dict.LANGUAGE.txt of fairseq-preprocess."
            )
        if token in seen and not may_repeat:
            raise UserError(
                f"{path}, line {number}: {token[:40]!r} occurs twice. fairseq does not read such a file either."
            )
        seen.add(token)
        names.append(token)
    return names


def merge_dictionaries(source: list[str], target: list[str]) -> list[str]:
    """Append the tokens of the target that the source lacks, as fairseq does with `merge_src_tgt_embed`."""
    return list(dict.fromkeys([*source, *target]))


def imported_vocabulary(names: list[str]) -> ImportedVocabulary:
    """Put the special tokens in this package's order; the start token is a copy of the end token."""
    order = [_PAD, _UNKNOWN, _END, _END, _START, *range(len(_SPECIAL), len(names))]
    ordered = [names[row] for row in order]
    ordered[2] = "<start>" if "<start>" not in names else "<start of sentence>"
    return ImportedVocabulary(Vocabulary(ordered, list(range(len(ordered)))), list(order))
