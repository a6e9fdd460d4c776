"""Vocabularies and special tokens of a CTranslate2 model: its `config.json` and vocabulary files.

Rows of the model are in the order of the vocabulary files; ids here begin with padding, unknown, start and end. Where
the vocabulary has none of these, or the decoder starts from another special token or from zeros, a row is added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
from pydantic import BaseModel, Field, StrictBool, StrictStr
from torch import Tensor

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.data.tokens.vocabulary import Vocabulary
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.model_file import CONFIG, REMEDY, ModelFolder, Variables
from allyouneed.untrusted import checked, parse_json

_LARGEST_FILE = 1 << 28  # bytes
_EPSILON = 1e-5  # of layer norms, by default
_PADDING = ("<pad>", "<blank>", "[PAD]")
_STARTS = ("<s>", "<start>", "<start of sentence>")
_LANGUAGE = re.compile(r"__[a-z]{2,4}__|[a-z]{3}_[A-Z][a-z]{3}|[a-z]{2}_[A-Z]{2}")  # M2M-100, NLLB, mBART
_FEW_LANGUAGES = 3  # tokens that may look like languages by chance

_APPENDED = (
    "Sources get an end token although add_source_eos = false, since transformers' tokenizers add it for such models."
)

Source = int | None  # the row that an id is copied from; None for zeros
_Token: TypeAlias = Annotated[StrictStr, Field(min_length=1)]


class _Settings(BaseModel):
    """Content of `config.json`; other names are ignored."""

    unk_token: _Token
    eos_token: _Token
    decoder_start_token: _Token | None
    add_source_bos: StrictBool
    add_source_eos: StrictBool
    quantization_type: int | str | None = None
    layer_norm_epsilon: float | None = Field(default=None, strict=True, gt=0, le=0.1)


class SpecialTokens(NamedTuple):
    """Settings of `config.json`.

    Attributes:
        unknown: The unknown token.
        end: The end token.
        start: The token that the decoder starts from.
        source_end: Whether sources end with the end token.
        epsilon: The ε of layer norms.
        remark: What the user has to know about these settings, if anything.
    """

    unknown: str
    end: str
    start: str
    source_end: bool
    epsilon: float
    remark: str = ""


@dataclass(frozen=True)
class Side:
    """Vocabulary of one side.

    Attributes:
        path: The file that it is from.
        size: Number of rows of the embedding matrix.
        rows: The row that each id is copied from.
        vocabulary: The tokens of all ids.
    """

    path: Path
    size: int
    rows: list[Source]
    vocabulary: Vocabulary

    def reordered(self, matrix: Tensor) -> Tensor:
        """Return the rows of a matrix or vector in the order of ids; added rows are zeros or copies."""
        result = matrix[torch.tensor([row or 0 for row in self.rows])]
        result[[i for i, row in enumerate(self.rows) if row is None]] = 0
        return result


def read_special_tokens(folder: ModelFolder, variables: Variables, version: int, zero_start: bool) -> SpecialTokens:
    """Read `config.json`, or, before version 6, the variables that have its settings.

    Args:
        folder: The model's folder.
        variables: The model's variables.
        version: Binary version of the model.
        zero_start: Whether the decoder starts from zeros, as in Marian's models.

    Raises:
        UserError: If the settings are invalid, or the model expects tokens of a language or of the caller.
    """
    path, settings = folder.path / CONFIG, _settings(folder, variables, version)
    unknown, end, start = settings.unk_token, settings.eos_token, settings.decoder_start_token
    if start is None:
        raise UserError(
            f"{path}: decoder_start_token = null: callers have to give the first target token, such as a language. If "
            "all translations begin with the same token, write it there."
        )
    if unknown == end:
        raise UserError(f"{path}: unk_token and eos_token are both {end!r}. {REMEDY}")
    if settings.add_source_bos:
        raise UserError(f"{path}: add_source_bos = true: sources that begin with a start token are not supported.")
    if settings.quantization_type:
        raise UserError(
            f"{path}: quantization_type = {settings.quantization_type}: only int8, int16 and floating-point weights "
            "can be read. Convert the model again with one of them."
        )
    epsilon = _EPSILON if settings.layer_norm_epsilon is None else settings.layer_norm_epsilon
    # Models of transformers get their end token from its tokenizers: those of Marian, and those that start from the end
    is_given, is_appended = settings.add_source_eos, zero_start or start == end
    remark = "" if is_given or not is_appended else _APPENDED
    return SpecialTokens(unknown, end, start, is_given or is_appended, epsilon, remark)


def _settings(folder: ModelFolder, variables: Variables, version: int) -> _Settings:
    path, content = folder.path / CONFIG, _read_json(folder, CONFIG) if CONFIG in folder.files else {}
    settings = checked(content, dict[str, Any], path, REMEDY)
    if version < 6:
        start = variables.text("bos_token", "<s>"), variables.text("eos_token", "</s>")
        stored = {
            "unk_token": variables.text("unk_token", "<unk>"),
            "eos_token": start[1],
            "decoder_start_token": start[0] if variables.number("with_target_bos", 1) else start[1],
            "add_source_bos": bool(variables.number("with_source_bos", 0)),
            "add_source_eos": bool(variables.number("with_source_eos", 0)),
        }
        if variables.number("user_decoder_start_tokens", 0):
            stored["decoder_start_token"] = None
        settings |= stored
    return checked(settings, _Settings, path, REMEDY)


def read_sides(
    folder: ModelFolder, special: SpecialTokens, sizes: tuple[int, int], zero_start: bool
) -> tuple[Side, Side]:
    """Read the vocabularies of source and target.

    Args:
        folder: The model's folder.
        special: Special tokens.
        sizes: Rows of the source and the target embeddings.
        zero_start: Whether the decoder starts from zeros.

    Raises:
        UserError: If a vocabulary is missing, invalid, of another size than the embeddings, or of several features.
    """
    shared = _find(folder, "shared")
    files = (shared, shared) if shared else (_find(folder, "source"), _find(folder, "target"))
    sides = []
    for file, size, name in zip(files, sizes, ("source", "target"), strict=True):
        if not file:
            raise UserError(f"{folder.path}: has no {name}_vocabulary.json, and no shared_vocabulary.json. {REMEDY}")
        path, tokens = folder.path / file, _read_tokens(folder, file, special.unknown)
        if len(tokens) != size:
            raise UserError(f"{path}: has {len(tokens):,} tokens, but the {name} embeddings {size:,} rows. {REMEDY}")
        is_source = name == "source" and not shared
        required = {special.end} if special.source_end or not is_source else set()
        required |= set() if zero_start or is_source else {special.start}
        if missing := sorted(required - set(tokens)):
            raise UserError(f"{path}: has no {missing[0]!r}, which {CONFIG} names. {REMEDY}")
        sides.append(_side(path, tokens, special, zero_start))
    return sides[0], sides[1]


def _side(path: Path, tokens: list[str], special: SpecialTokens, zero_start: bool) -> Side:
    """Choose the special tokens, and put them first; those that are missing are added."""
    first_rows: dict[str, int] = {}
    for row, token in enumerate(tokens):
        first_rows.setdefault(token, row)
    languages = sum(bool(_LANGUAGE.fullmatch(token)) for token in first_rows)
    if languages > _FEW_LANGUAGES:
        raise UserError(
            f"{path}: a multilingual model with {languages} tokens of languages, which its texts have to begin or end "
            "with; this is not supported."
        )
    unknown, end, start = (first_rows.get(token) for token in (special.unknown, special.end, special.start))
    padding = next((first_rows[name] for name in _PADDING if name in first_rows), None)
    padding = None if padding in (unknown, end) else padding
    own_start = None if zero_start or start in (padding, unknown, end) else start
    rows = [padding, unknown, None if zero_start else start, end]
    taken = {padding, unknown, own_start, end}
    rows += [row for row in range(len(tokens)) if row not in taken]
    names = [tokens[row] if row is not None else "" for row in rows]
    for i, found, usual in ((PAD, padding, _PADDING), (BOS, own_start, _STARTS), (EOS, end, (special.end,))):
        if found is None:
            numbered = (f"<added {n}>" for n in count())
            names[i] = next(name for name in chain(usual, numbered) if name not in first_rows and name not in names)
    return Side(path, len(tokens), rows, Vocabulary(names, list(range(len(names)))))


def _find(folder: ModelFolder, side: str) -> str:
    return next((name for name in (f"{side}_vocabulary.json", f"{side}_vocabulary.txt") if name in folder.files), "")


def _read_tokens(folder: ModelFolder, name: str, unknown: str) -> list[str]:
    path = folder.path / name
    if path.suffix == ".json":
        tokens = checked(_read_json(folder, name), list[StrictStr], path, REMEDY)
    else:
        lines = _read_text(folder, name).split("\n")
        tokens = lines[:-1] if lines[-1] == "" else lines
        if tokens and all(line.endswith("\r") for line in tokens):
            tokens = [line[:-1] for line in tokens]
    if not tokens:
        raise UserError(f"{path}: has no tokens. {REMEDY}")
    return tokens if unknown in tokens else [*tokens, unknown]


def _read_json(folder: ModelFolder, name: str) -> Any:
    try:
        return parse_json(_read_text(folder, name))
    except ValueError as error:
        raise UserError(f"{folder.path / name}: not valid JSON. {REMEDY}") from error


def _read_text(folder: ModelFolder, name: str) -> str:
    content = folder.files[name]
    if len(content) > _LARGEST_FILE:
        raise UserError(f"{folder.path / name}: has more than {_LARGEST_FILE >> 20} MiB. {REMEDY}")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{folder.path / name}: is not UTF-8. {REMEDY}") from error
