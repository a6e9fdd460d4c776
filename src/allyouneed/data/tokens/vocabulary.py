"""Tokenizer for imported vocabularies, as in Marian: a SentencePiece model and a list of subwords for each side.

Source and target may have different models and vocabularies: a tokenizer is for the source, its `target` for the target
language. Ids are reordered so that PAD, UNK, BOS and EOS have their usual values; `rows` has the original ids.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import sentencepiece

from allyouneed.data.directions import CODE
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

ADDED = -1  # the row of a start token that the original vocabulary lacks
_FILES = ("source.spm", "target.spm", "vocabulary.json")


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

    Text is normalised by the SentencePiece model only.

    Args:
        model: A serialised SentencePiece model.
        vocabulary: Subwords in the order of their ids.
        target: Tokenizer of the target side; None if both sides share this one.
    """

    code = ""  # of the target language, see `with_code`

    def __init__(self, model: bytes, vocabulary: Vocabulary, target: VocabularyTokenizer | None = None):
        self.model, self.vocabulary = model, vocabulary
        self.target = target or self
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._ids = {name: i for i, name in enumerate(vocabulary.names)}

    def __len__(self) -> int:
        return len(self.vocabulary.names)

    @property
    def shared(self) -> bool:
        """Whether source and target have the same vocabulary; their models may differ."""
        return self.vocabulary == self.target.vocabulary

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
        return self.ids([*([code] if code else []), *self._processor.encode(text, out_type=str)])

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids on one line, without start, end and padding tokens."""
        text = self._processor.decode_pieces(self.pieces([i for i in ids if i not in (PAD, BOS, EOS)]))
        return LINE_ENDS.sub(" ", text.replace("▁", " ").strip())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the subword of each id, with ▁ for a space."""
        return [self.vocabulary.names[int(i)] for i in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return the id of each subword, or UNK; the inverse of `pieces`."""
        return [self._ids.get(piece, UNK) for piece in pieces]

    def files(self) -> dict[str, bytes]:
        """Return the files from which `load_tokenizers` loads this tokenizer, by name."""
        vocabularies = {"source": self.vocabulary, "target": self.target.vocabulary}
        contents = {side: {"names": one.names, "rows": one.rows} for side, one in vocabularies.items()}
        files = (self.model, self.target.model, json.dumps(contents, ensure_ascii=False).encode("utf-8"))
        return dict(zip(_FILES, files, strict=True))

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
    if not (folder / _FILES[0]).exists():
        return _load_own(folder)
    try:
        source_model, target_model, vocabularies = ((folder / name).read_bytes() for name in _FILES)
        sides = json.loads(vocabularies)
        source, target = (Vocabulary(sides[side]["names"], sides[side]["rows"]) for side in ("source", "target"))
        tokenizer = VocabularyTokenizer(target_model, target)
        if (source_model, source) == (target_model, target):
            return tokenizer
        return VocabularyTokenizer(source_model, source, tokenizer)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: {', '.join(_FILES)} are not a valid tokenizer ({error}).") from error


def _load_own(folder: Path) -> Tokenizer:
    source, target = (folder / name for name in SEPARATE_FILES)
    return load_tokenizer(source, load_tokenizer(target)) if source.exists() else load_tokenizer(folder / SHARED_FILE)
