"""The file format of SentencePiece models (protocol buffers): read the pieces, move the special tokens, add symbols.

SentencePiece itself cannot change a model, and the generated classes that can require the protobuf package. The format
is small: a message is a sequence of fields, each with a number, a wire type and a value.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

import sentencepiece

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")  # in the order of their ids: PAD, UNK, BOS, EOS
ALGORITHMS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_PIECES, _TRAINER, _SELF_TEST = 1, 2, 4  # fields of the model
_ALGORITHM, _VOCAB_SIZE = 3, 4  # fields of the trainer's settings
_SPECIAL_PIECES, _SPECIAL_IDS = (48, 45, 46, 47), (43, 40, 41, 42)  # as above, in the order of SPECIAL


class PieceKind(IntEnum):
    """Kind of a piece, as SentencePiece numbers them."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """An entry of the vocabulary. For BPE, -score is the index of the merge; for unigram, it is a log probability."""

    text: str
    score: float
    kind: PieceKind


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: Any  # an int with wire type 0, else bytes


@dataclass(frozen=True)
class ModelFile:
    """The content of a SentencePiece model.

    Attributes:
        pieces: The vocabulary in the order of the ids.
        algorithm: "unigram", "bpe", "word" or "char".
        trainer: Fields of the trainer's settings.
        others: All other fields, such as normalisation, which are kept as they are.
    """

    pieces: list[Piece]
    algorithm: str
    trainer: list[_Field]
    others: list[_Field]

    @property
    def symbols(self) -> list[str]:
        """User-defined symbols, each of which is always a single token."""
        return [piece.text for piece in self.pieces if piece.kind == PieceKind.USER_DEFINED]

    @property
    def has_bytes(self) -> bool:
        """Whether characters outside the vocabulary are encoded as bytes."""
        return any(piece.kind == PieceKind.BYTE for piece in self.pieces)

    def with_special_first(self) -> ModelFile:
        """Move the padding, unknown, start and end tokens to ids 0 to 3, adding those that are missing.

        The order of the other pieces is kept. It does not affect how text is segmented.
        """
        unknown = next(piece.text for piece in self.pieces if piece.kind == PieceKind.UNKNOWN)
        named = [_text(self.trainer, number) or name for number, name in zip(_SPECIAL_PIECES, SPECIAL, strict=True)]
        names = [name if named.count(name) == 1 else default for name, default in zip(named, SPECIAL, strict=True)]
        names[1] = unknown
        kinds = [PieceKind.UNKNOWN if name == unknown else PieceKind.CONTROL for name in names]
        special = [Piece(name, 0.0, kind) for name, kind in zip(names, kinds, strict=True)]
        return self._with_pieces([*special, *(piece for piece in self.pieces if piece.text not in names)])

    def with_symbols(self, symbols: Sequence[str]) -> ModelFile:
        """Add user-defined symbols after the special tokens; existing pieces with the same text become symbols."""
        added = [Piece(symbol, 0.0, PieceKind.USER_DEFINED) for symbol in symbols]
        others = [piece for piece in self.pieces if piece.text not in symbols]
        return self._with_pieces([*others[: len(SPECIAL)], *added, *others[len(SPECIAL) :]])

    def restricted_to(self, vocabulary: Collection[str]) -> ModelFile:
        """Leave only pieces of a vocabulary and characters in use, as `SetVocabulary` of SentencePiece does."""
        allowed, kept = frozenset(vocabulary), (PieceKind.CONTROL, PieceKind.UNKNOWN, PieceKind.USER_DEFINED)
        pieces = []
        for piece in self.pieces:
            is_used = piece.text in allowed or len(piece.text) == 1
            kind = PieceKind.NORMAL if is_used else PieceKind.UNUSED
            pieces.append(piece if piece.kind in kept else piece._replace(kind=kind))
        return replace(self, pieces=pieces, others=[field for field in self.others if field.number != _SELF_TEST])

    def _with_pieces(self, pieces: list[Piece]) -> ModelFile:
        replaced = {_VOCAB_SIZE, *_SPECIAL_IDS}
        trainer = [field for field in self.trainer if field.number not in replaced]
        others = [field for field in self.others if field.number != _SELF_TEST]
        ids = [_Field(number, _VARINT, index) for index, number in enumerate(_SPECIAL_IDS)]
        trainer += [_Field(_VOCAB_SIZE, _VARINT, len(pieces)), *ids]
        return replace(self, pieces=pieces, trainer=trainer, others=others)

    def as_bytes(self) -> bytes:
        """Serialise the model."""
        pieces = [_Field(_PIECES, _BYTES, _serialise(_piece_fields(piece))) for piece in self.pieces]
        return _serialise([*pieces, _Field(_TRAINER, _BYTES, _serialise(self.trainer)), *self.others])


def open_model(content: bytes) -> sentencepiece.SentencePieceProcessor:
    """Load a serialised model to segment text.

    Raises:
        RuntimeError: If it is something else, one of its pieces is not text or has a score that is not finite, or not
            exactly one is the unknown token.
    """
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
        ids = list(range(processor.vocab_size()))
        processor.id_to_piece(ids)
    except UnicodeDecodeError as error:  # of a piece, or of SentencePiece's own message
        raise RuntimeError("a piece is not valid Unicode") from error
    if not all(map(math.isfinite, processor.get_score(ids))):
        raise RuntimeError("a score is not a finite number")
    if sum(processor.is_unknown(ids)) != 1:
        raise RuntimeError("not exactly one piece is the unknown token")
    return processor


def read_model(content: bytes) -> ModelFile:
    """Parse a serialised SentencePiece model.

    Raises:
        ValueError: If the content is damaged or something else.
    """
    try:
        fields = list(_fields(content))
        pieces = [_piece(field.value) for field in fields if field.number == _PIECES]
        trainer = [each for field in fields if field.number == _TRAINER for each in _fields(field.value)]
        number = next((field.value for field in trainer if field.number == _ALGORITHM), 1)
        others = [field for field in fields if field.number not in (_PIECES, _TRAINER)]
        model = ModelFile(pieces, ALGORITHMS[number], trainer, others)
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"not a SentencePiece model ({error})") from error
    if sum(piece.kind == PieceKind.UNKNOWN for piece in model.pieces) != 1:
        raise ValueError("not a SentencePiece model (it has no unknown token)")
    return model


def _piece(content: bytes) -> Piece:
    values = {field.number: field.value for field in _fields(content)}
    score = struct.unpack("<f", values[2])[0] if 2 in values else 0.0
    return Piece(values[1].decode("utf-8"), score, PieceKind(values.get(3, PieceKind.NORMAL)))


def _piece_fields(piece: Piece) -> list[_Field]:
    return [
        _Field(1, _BYTES, piece.text.encode("utf-8")),
        _Field(2, _FIXED32, struct.pack("<f", piece.score)),
        _Field(3, _VARINT, int(piece.kind)),
    ]


def _text(fields: Sequence[_Field], number: int) -> str:
    return next((field.value.decode("utf-8") for field in fields if field.number == number), "")


def _fields(content: bytes) -> Iterator[_Field]:
    """Yield the fields of a message."""
    if not isinstance(content, bytes):
        raise TypeError("a number instead of a message")
    position = 0
    while position < len(content):
        key, position = _read_varint(content, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _read_varint(content, position)
            yield _Field(number, wire_type, value)
            continue
        if wire_type == _BYTES:
            length, position = _read_varint(content, position)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[wire_type]
        if position + length > len(content):
            raise IndexError("truncated")
        yield _Field(number, wire_type, content[position : position + length])
        position += length


def _serialise(fields: Sequence[_Field]) -> bytes:
    parts = []
    for number, wire_type, value in fields:
        parts.append(_varint(number << 3 | wire_type))
        if isinstance(value, int):
            parts.append(_varint(value))
        else:
            parts.append((_varint(len(value)) if wire_type == _BYTES else b"") + value)
    return b"".join(parts)


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, in groups of seven bits from the lowest, and the position after it."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
