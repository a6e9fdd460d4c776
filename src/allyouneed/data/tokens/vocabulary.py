"""Tokenizer for imported vocabularies: a segmenter, such as a SentencePiece model, and a list of tokens for each side.

Source and target may have different segmenters and vocabularies: a tokenizer is for the source, its `target` for the
target language. Ids are reordered so that PAD, UNK, BOS and EOS have their usual values; `rows` has the original ids.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, StrictInt, StrictStr

from allyouneed.data.directions import CODE
from allyouneed.data.tokens.segmenters import Segmenter, SentencePieceSegmenter
from allyouneed.data.tokens.stored_segmenters import base_kind, load_segmenter
from allyouneed.data.tokens.tokenizer import (
    BOS,
    EOS,
    LINE_ENDS,
    PAD,
    SEPARATE_FILES,
    SHARED_FILE,
    UNK,
    Tokenizer,
    load_tokenizer,
)
from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, read_regular, read_typed

_LARGEST = 1 << 28  # bytes of a file
ADDED = -1  # the row of a start token that the original vocabulary lacks
_VOCABULARY = "vocabulary.json"
_REMEDY = "Download the bundle or import the model again."
_MODELS = {
    kind: (f"source.{suffix}", f"target.{suffix}") for kind, suffix in (("sentencepiece", "spm"), ("bpe", "bpe"))
}


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary imported from another program.

    Attributes:
        names: Subword of each id.
        rows: Row of each id in the original vocabulary, or ADDED.
    """

    names: list[str]
    rows: list[int]


class VocabularyTokenizer:
    """Conversion between text and token ids of one side, with the interface of `Tokenizer`.

    Text is normalised by the segmenter only.

    Args:
        segmenter: The segmenter, or a serialised SentencePiece model.
        vocabulary: Subwords in the order of their ids.
        target: Tokenizer of the target side; None if both sides share this one.
    """

    code = ""  # of the target language, see `with_code`

    def __init__(self, segmenter: bytes | Segmenter, vocabulary: Vocabulary, target: VocabularyTokenizer | None = None):
        self.segmenter = SentencePieceSegmenter(segmenter) if isinstance(segmenter, bytes) else segmenter
        self.vocabulary = vocabulary
        self.target = target or self
        named = reversed(list(enumerate(vocabulary.names)))  # of duplicates, the first counts
        self._ids = {name: i for i, name in named if i not in (PAD, BOS, EOS)}

    def __len__(self) -> int:
        return len(self.vocabulary.names)

    @property
    def shared(self) -> bool:
        """Whether source and target have the same vocabulary; their segmenters may differ."""
        return self.vocabulary == self.target.vocabulary

    @property
    def model(self) -> bytes:
        """The serialised SentencePiece model.

        Raises:
            UserError: If text is segmented otherwise.
        """
        if self.segmenter.kind != SentencePieceSegmenter.kind:
            raise UserError(
                f"this model's text is segmented by {self.segmenter.kind}, and the format requires a SentencePiece "
                "model. Export to ctranslate2."
            )
        return self.segmenter.model

    @property
    def codes(self) -> list[str]:
        """Codes of target languages in the vocabulary, such as `>>fr<<`."""
        return [name for name in self.vocabulary.names if CODE.fullmatch(name)]

    def has_code(self, text: str) -> bool:
        """Return whether a text begins with the code of a target language."""
        return bool(self.split_code(text)[0])

    def with_code(self, code: str) -> VocabularyTokenizer:
        """Return a tokenizer that puts a code in front of each source without one."""
        coded = copy.copy(self)
        coded.code = code
        return coded

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end tokens. A leading code `>>fr<<` is one token."""
        code, text = self.split_code(text)
        code = code or (self.code if text.strip() else "")
        return self._ids_of([*([code] if code else []), *self.segmenter.split(text)])

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids on one line, without start, end and padding tokens."""
        names = [self.vocabulary.names[int(i)] for i in ids if i not in (PAD, BOS, EOS)]
        return LINE_ENDS.sub(" ", self.segmenter.join(names))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the token of each id, with ▁ for a space.

        Whether a token of BPE begins a word depends on the token before it: pass the ids of a whole text.
        """
        return self.segmenter.shown([self.vocabulary.names[int(i)] for i in ids])

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return the id of each token, or UNK; the inverse of `pieces`."""
        special = {self.vocabulary.names[i]: i for i in (PAD, BOS, EOS)}
        return [special.get(name, self._ids.get(name, UNK)) for name in self.segmenter.tokens(pieces)]

    def _ids_of(self, names: Sequence[str]) -> list[int]:
        return [self._ids.get(name, UNK) for name in names]

    def files(self) -> dict[str, bytes]:
        """Return the files from which `load_tokenizers` loads this tokenizer, by name."""
        contents, files = {}, {}
        for side, one in (("source", self), ("target", self.target)):
            settings = {"kind": one.segmenter.kind, **one.segmenter.settings()}
            own = {} if settings == {"kind": SentencePieceSegmenter.kind} else {"segmenter": settings}
            contents[side] = {"names": one.vocabulary.names, "rows": one.vocabulary.rows, **own}
            if base_kind(settings) in _MODELS:
                files[_MODELS[base_kind(settings)][side == "target"]] = one.segmenter.model
        return {**files, _VOCABULARY: json.dumps(contents, ensure_ascii=False).encode("utf-8")}

    @staticmethod
    def split_code(text: str) -> tuple[str, str]:
        """Separate a leading language code `>>fr<<`, the target language of a multilingual model, from the text.

        A code contains no spaces: `>> quoted text <<` is text.
        """
        match = CODE.match(text)
        return (match[0], text[match.end() :]) if match else ("", text)


AnyTokenizer: TypeAlias = Tokenizer | VocabularyTokenizer


def load_tokenizers(folder: Path) -> AnyTokenizer:
    """Load the tokenizer of a bundle or of prepared data.

    Raises:
        UserError: If its files are missing or are not a tokenizer.
    """
    if not any(
        (folder / name).exists() for name in (_VOCABULARY, *(name for pair in _MODELS.values() for name in pair))
    ):
        return _load_own(folder)
    try:
        sides = read_typed(folder / _VOCABULARY, _Sides, _REMEDY)
        (source, source_vocabulary), (target, target_vocabulary) = (
            _side(folder, content, side) for side, content in enumerate((sides.source, sides.target))
        )
        tokenizer = VocabularyTokenizer(target, target_vocabulary)
        if source_vocabulary == target_vocabulary and _described(source) == _described(target):
            return tokenizer
        return VocabularyTokenizer(source, source_vocabulary, tokenizer)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise cannot_read(Path(error.filename or folder), error, "Download it again.") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{folder}: vocabulary.json and its models are not a valid tokenizer ({reason}).") from error


class _Side(BaseModel):
    """The vocabulary of a side in `vocabulary.json`, which may come from somebody else."""

    names: list[StrictStr]
    rows: list[StrictInt]
    segmenter: dict[str, Any] | None = None


class _Sides(BaseModel):
    source: _Side
    target: _Side


def _side(folder: Path, content: _Side, side: int) -> tuple[Segmenter, Vocabulary]:
    """Load the segmenter and the vocabulary of the source, 0, or the target, 1."""
    if len(content.names) != len(content.rows) or len(content.names) <= EOS:
        raise ValueError(f"{len(content.names)} names for {len(content.rows)} rows")
    settings = content.segmenter or {"kind": SentencePieceSegmenter.kind}
    files = _MODELS.get(base_kind(settings))
    model = read_regular(folder / files[side], _LARGEST) if files else b""
    return load_segmenter(model, settings, content.names), Vocabulary(content.names, content.rows)


def _described(segmenter: Segmenter) -> tuple[str, bytes, dict[str, Any]]:
    return segmenter.kind, segmenter.model, segmenter.settings()


def _load_own(folder: Path) -> Tokenizer:
    source, target = (folder / name for name in SEPARATE_FILES)
    return load_tokenizer(source, load_tokenizer(target)) if source.exists() else load_tokenizer(folder / SHARED_FILE)
