"""Reading of Marian's vocabularies: YAML or JSON of tokens and rows, plain lists, and SentencePiece models.

Marian's YAML is written by yaml-cpp, which allows characters that other YAML libraries refuse, such as U+FEFF or
U+0096, and which occur in real vocabularies. Its form is one mapping with a line for each token, which is read here.
Source: `data/default_vocab.cpp` and `data/sentencepiece_vocab.cpp` of marian-dev 1.12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import sentencepiece

from allyouneed.data.tokens.sentencepiece_model import open_model
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary
from allyouneed.errors import UserError
from allyouneed.untrusted import check_number_of_values

LARGEST_VOCABULARY = 1 << 25  # bytes
_LONGEST_LINE = 10_000  # characters
_END, _UNKNOWN = ("</s>", "eos"), ("<unk>", "UNK")  # the second name is Nematus's, for rows 0 and 1
_TOKEN = re.compile(r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^']|'')*)'|(?P<plain>.+))""")
_ROW = re.compile(r"\s+(\d{1,9})\s*")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_CHARACTERS = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}
_CHARACTERS |= {"N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
_REMEDY = "Give the vocabulary that the model was trained with."


def read_vocabulary(content: bytes, name: str, rows: int) -> Vocabulary:
    """Read a vocabulary.

    Args:
        content: Content of the file.
        name: Name of the file; .spm is a SentencePiece model, .yml, .yaml and .json are mappings, others lists.
        rows: Number of rows of the embedding matrix; tokens beyond it are left out, as Marian does.

    Returns:
        Tokens in our order: padding and start, which Marian does not have, unknown, end, then the others by row.

    Raises:
        UserError: If the file is no vocabulary, or has no end or unknown token.
    """
    if name.endswith(".spm"):
        return _of_pieces(content, name, rows)
    is_mapping = name.endswith((".yml", ".yaml", ".json"))
    try:
        text = content.decode("utf-8-sig" if is_mapping else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: byte {error.start} is not UTF-8. {_REMEDY}") from error
    rows_by_name = _mapping(text, name) if is_mapping else _list(text, name)
    names = {row: token for token, row in rows_by_name.items() if row < rows}
    if len(names) < sum(row < rows for row in rows_by_name.values()):
        raise UserError(f"{name}: gives two tokens one row. {_REMEDY}")
    end, unknown = (_special(names, choices, row, name, is_mapping) for row, choices in enumerate((_END, _UNKNOWN)))
    return _vocabulary(names, rows, end, unknown)


def read_pieces(content: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model.

    Raises:
        UserError: If the file is none.
    """
    try:
        return open_model(content)
    except RuntimeError as error:
        raise UserError(f"{name}: is not a SentencePiece model. {_REMEDY}") from error


def _of_pieces(content: bytes, name: str, rows: int) -> Vocabulary:
    processor = read_pieces(content, name)
    count, end, unknown = len(processor), processor.eos_id(), processor.unk_id()
    if count > rows or not 0 <= end < count or not 0 <= unknown < count:
        raise UserError(f"{name}: has {count:,} pieces for {rows:,} rows of the model, or no end token. {_REMEDY}")
    return _vocabulary(dict(enumerate(processor.id_to_piece(list(range(count))))), rows, end, unknown)


def _vocabulary(names: Mapping[int, str], rows: int, end: int, unknown: int) -> Vocabulary:
    """Order tokens as this package does; a row without a name gets one that no text is encoded to."""
    taken = set(names.values())
    added = [_unused(name, taken) for name in ("<pad>", "<s>")]
    others = [row for row in range(rows) if row not in (end, unknown)]
    return Vocabulary(
        [added[0], names.get(unknown) or "<unk>", added[1], names.get(end) or "</s>"]
        + [names[row] if row in names else _unused(f"<row {row}>", taken) for row in others],
        [ADDED, unknown, ADDED, end, *others],
    )


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"<{name}>"
    return name


def _special(names: Mapping[int, str], choices: tuple[str, str], usual: int, name: str, is_mapping: bool) -> int:
    """Return the row of the end or unknown token."""
    if is_mapping and names.get(usual, "") in ("", choices[1]):
        return usual
    for row, token in names.items():
        if token == choices[0]:
            return row
    raise UserError(f"{name}: has no {choices[0]}. {_REMEDY}")


def _list(text: str, name: str) -> dict[str, int]:
    lines = text.removesuffix("\n").split("\n")
    rows = {line.removesuffix("\r"): row for row, line in enumerate(lines)}
    if len(rows) < len(lines) or "" in rows:
        raise UserError(f"{name}: has empty lines, or a token twice. {_REMEDY}")
    return rows


def _mapping(text: str, name: str) -> dict[str, int]:
    if text.lstrip()[:1] == "{":
        return _json(text, name)
    rows: dict[str, int] = {}
    lines = iter(enumerate(re.split(r"\r?\n", text), start=1))
    for number, line in lines:
        if not line.strip() or line.startswith(("#", "---", "...")):
            continue
        found = _entry(line)
        if found is None and line.startswith("? "):  # yaml-cpp's form of long keys
            found = _entry(line[2:] + next(lines, (0, ""))[1])
        if found is None:
            raise UserError(f"{name}, line {number}: is not a token, a colon and a row. {_REMEDY}")
        rows.setdefault(*found)  # Marian, too, keeps the first
    return rows


def _json(text: str, name: str) -> dict[str, int]:
    try:
        check_number_of_values(text)
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: is not valid JSON ({error}). {_REMEDY}") from error
    rows: dict[str, int] = {}
    for token, row in pairs:
        if type(row) is not int or row < 0:
            raise UserError(f"{name}: the row of {token!r} is not a whole number. {_REMEDY}")
        rows.setdefault(token, row)
    return rows


def _entry(line: str) -> tuple[str, int] | None:
    """Return the token and the row of a line; None if it has none."""
    if len(line) > _LONGEST_LINE:
        return None
    token, colon, after = line.rpartition(":")
    match, row = _TOKEN.fullmatch(token.rstrip() or token[:1]), _ROW.fullmatch(after)
    return (_token(match), int(row[1])) if colon and match and row else None


def _token(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPE.sub(_unescaped, match["double"])
    return match["single"].replace("''", "'") if match["single"] is not None else match["plain"]


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return _CHARACTERS.get(match[4], match[4])
    number = int(code, 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
