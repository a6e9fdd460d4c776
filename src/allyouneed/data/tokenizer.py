"""Subword tokenizer (section 5.1) by SentencePiece, with one vocabulary for source and target.

Text is normalised to Unicode NFC, so that decomposed Korean, as macOS writes it, equals composed Korean. There is no
other normalisation: the model could not generate a character that is removed from its training targets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from allyouneed.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
_NOT_TEXT = {PAD, BOS, EOS}
LINE_ENDS = re.compile(r"[\r\n]+")


class Tokenizer:
    """Conversion between text and token ids.

    In every vocabulary PAD, UNK, BOS and EOS are the ids of the padding, unknown, start and end tokens.

    Args:
        model: A serialised SentencePiece model.
    """

    def __init__(self, model: bytes):
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._pieces = self._processor.id_to_piece(list(range(self._processor.vocab_size())))

    def __len__(self) -> int:
        return self._processor.vocab_size()

    @property
    def target(self) -> Tokenizer:
        """Return the tokenizer of the target language: the same one, since the vocabulary is shared."""
        return self

    def split_code(self, text: str) -> tuple[str, str]:
        """Separate a leading language code from the text; these vocabularies have no such codes."""
        return "", text

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end tokens."""
        return self._processor.encode(to_nfc(text))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts on one thread."""
        return self._processor.encode([to_nfc(text) for text in texts], num_threads=1)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids on one line, without start, end and padding tokens."""
        text = self._processor.decode([i for i in map(int, ids) if i not in _NOT_TEXT])
        if "▁" in text:  # a space that was generated as bytes
            text = text.replace("▁", " ").strip()
        return LINE_ENDS.sub(" ", text)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the subword of each id, with ▁ for a space."""
        return [self._pieces[i] for i in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Return the id of each subword, or UNK; the inverse of `pieces`."""
        return [self._processor.piece_to_id(piece) for piece in pieces]

    def files(self) -> dict[str, bytes]:
        """Return the files from which this tokenizer can be loaded, by name."""
        return {"tokenizer.model": self.model}


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a SentencePiece model.

    Raises:
        UserError: If the file is missing or is not a SentencePiece model.
    """
    try:
        return Tokenizer(path.read_bytes())
    except (OSError, RuntimeError) as error:
        remedy = f"For a RUN, delete {path.parent} and run the same command again; for a bundle, download it again."
        raise UserError(f"{path}: missing, or not a SentencePiece model. {remedy}") from error


def to_nfc(text: str) -> str:
    """Normalise text to Unicode NFC, composed characters."""
    return unicodedata.normalize("NFC", text)
