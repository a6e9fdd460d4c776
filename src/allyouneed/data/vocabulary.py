"""Subwords whose ids are somebody else's: a SentencePiece model a side, and a list that names the ids, as in Marian.

Source and target may have models and vocabularies of their own: a tokenizer is that of the source, its `target` the
other one. Ids are in our order, so that PAD, UNK, BOS and EOS are what they are everywhere; `rows` tells the others'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import sentencepiece

from allyouneed.data.tokenizer import BOS, EOS, LINE_ENDS, PAD, UNK, Tokenizer, load_tokenizer
from allyouneed.errors import UserError

ADDED = -1  # the row of a start of sentence that the others have no word for
_CODE = re.compile(r">>\S+?<<")
_FILES = ("source.spm", "target.spm", "vocabulary.json")


@dataclass(frozen=True)
class Vocabulary:
    """names: each id's subword; rows: each id's place in the vocabulary this was made from, or ADDED."""

    names: list[str]
    rows: list[int]


class VocabularyTokenizer:
    """As `Tokenizer`, of one side. Text is not normalised before the SentencePiece model does it."""

    def __init__(self, model: bytes, vocabulary: Vocabulary, target: VocabularyTokenizer | None = None):
        self.model, self.vocabulary = model, vocabulary
        self.target = target or self
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._ids = {name: i for i, name in enumerate(vocabulary.names)}

    def __len__(self) -> int:
        return len(self.vocabulary.names)

    def encode(self, text: str) -> list[int]:
        """Ids without start and end. A language code `>>fr<<` in front is one subword."""
        code, text = self.split_code(text)
        return self.ids([*([code] if code else []), *self._processor.encode(text, out_type=str)])

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, on one line; start, end and padding give nothing."""
        text = self._processor.decode_pieces(self.pieces([i for i in ids if i not in (PAD, BOS, EOS)]))
        return LINE_ENDS.sub(" ", text.replace("▁", " ").strip())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each id's subword, with ▁ for a space."""
        return [self.vocabulary.names[int(i)] for i in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The inverse of `pieces`; what is no subword is unknown."""
        return [self._ids.get(piece, UNK) for piece in pieces]

    def files(self) -> dict[str, bytes]:
        """What `load_tokenizers` reads, by name."""
        sides = {"source": self.vocabulary, "target": self.target.vocabulary}
        contents = {side: {"names": kept.names, "rows": kept.rows} for side, kept in sides.items()}
        named = (self.model, self.target.model, json.dumps(contents, ensure_ascii=False).encode("utf-8"))
        return dict(zip(_FILES, named, strict=True))

    @staticmethod
    def split_code(text: str) -> tuple[str, str]:
        """A language code `>>fr<<` in front, which tells a multilingual model what to translate into, and the rest.

        It has no spaces: what is quoted as `>> so much <<` is text.
        """
        found = _CODE.match(text)
        return (found[0], text[found.end() :]) if found else ("", text)


AnyTokenizer: TypeAlias = Tokenizer | VocabularyTokenizer


def load_tokenizers(folder: Path) -> AnyTokenizer:
    """The tokenizer of a bundle's or a prepared corpus' folder, of either kind. Errors: `UserError`."""
    if not (folder / _FILES[0]).exists():
        return load_tokenizer(folder / "tokenizer.model")
    try:
        source_model, target_model, named = ((folder / name).read_bytes() for name in _FILES)
        sides = json.loads(named)
        source, target = (Vocabulary(sides[side]["names"], sides[side]["rows"]) for side in ("source", "target"))
        tokenizer = VocabularyTokenizer(target_model, target)
        if (source_model, source) == (target_model, target):
            return tokenizer
        return VocabularyTokenizer(source_model, source, tokenizer)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: {', '.join(_FILES)} are not a tokenizer ({error}).") from error
