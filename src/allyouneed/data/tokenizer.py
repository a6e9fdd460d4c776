"""Learns and applies subwords (section 5.1) with SentencePiece; one vocabulary for source and target.

Text is brought to Unicode NFC first, so that decomposed Korean (as macOS writes it) and composed are the same; nothing
else is to_nfc, since what is normalised away in the target could never be translated into.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from allyouneed.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
_SILENT = {PAD, BOS, EOS}
LINE_ENDS = re.compile(r"[\r\n]+")


class Tokenizer:
    """Text to ids and back. The ids of padding, unknown, start and end are PAD, UNK, BOS, EOS in every vocabulary."""

    def __init__(self, model: bytes):
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._pieces = self._processor.id_to_piece(list(range(self._processor.vocab_size())))

    def __len__(self) -> int:
        return self._processor.vocab_size()

    @property
    def target(self) -> Tokenizer:
        """That of the other side of a pair: the same, since one vocabulary is for both."""
        return self

    def split_code(self, text: str) -> tuple[str, str]:
        """A code in front that is a subword, not text, and the rest: there is none here."""
        return "", text

    def encode(self, text: str) -> list[int]:
        """Ids without start and end."""
        return self._processor.encode(to_nfc(text))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts at once, on one thread so that the order of work is fixed."""
        return self._processor.encode([to_nfc(text) for text in texts], num_threads=1)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, on one line whatever bytes were said; start, end and padding give nothing."""
        text = self._processor.decode([i for i in map(int, ids) if i not in _SILENT])
        if "▁" in text:  # a whole word spelled in bytes, its space too
            text = text.replace("▁", " ").strip()
        return LINE_ENDS.sub(" ", text)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each id's subword, with ▁ for a space."""
        return [self._pieces[i] for i in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The inverse of `pieces`; what is no subword is unknown."""
        return [self._processor.piece_to_id(piece) for piece in pieces]

    def files(self) -> dict[str, bytes]:
        """What it is loaded from, by name."""
        return {"tokenizer.model": self.model}


def load_tokenizer(path: Path) -> Tokenizer:
    """Errors: `UserError` when the file is missing or is not a SentencePiece model."""
    try:
        return Tokenizer(path.read_bytes())
    except (OSError, RuntimeError) as error:
        remedy = f"Of a RUN: delete {path.parent} and run the same command again. A bundle: get it again."
        raise UserError(f"{path}: missing, or not a SentencePiece model. {remedy}") from error


def learn_tokenizer(
    sentences: Iterable[str], vocab_size: int, subwords: str = "bpe", character_coverage: float = 0.9999
) -> Tokenizer:
    """Learns `vocab_size` subwords, or as many as the sentences support; characters left out are spelled in bytes.

    subwords: "bpe", "unigram" or "word"; character_coverage: the share of all characters of the text, 0.98 to 1, that
    is spelled with characters. Errors: `UserError` when there is too little text for any vocabulary, or when the
    vocabulary has no room for bytes and characters.
    """
    sentences = [to_nfc(text) for text in sentences]
    if not any(sentences):
        raise UserError("there is no text to learn subwords from.")
    try:
        return _learn(sentences, vocab_size, subwords, character_coverage)
    except RuntimeError as error:
        if needed := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
            raise UserError(
                f"data.vocab_size = {vocab_size} is too small: the bytes and the characters of this text are "
                f"{needed[1]} subwords already."
            ) from error
        largest = re.search(r"value <= (\d+)", str(error))
        if not largest:
            reason = str(error).splitlines()[-1]
            raise UserError(f"data.vocab_size = {vocab_size} does not fit this corpus: {reason}") from error
        return _learn(sentences, int(largest[1]), subwords, character_coverage)


def _learn(sentences: list[str], vocab_size: int, subwords: str, character_coverage: float) -> Tokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=vocab_size,
        model_type=subwords,
        character_coverage=character_coverage,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        max_sentence_length=100_000,
        num_threads=2,
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


def to_nfc(text: str) -> str:
    """In Unicode's form NFC, in which text is read and written: letters that are one are not two."""
    return unicodedata.normalize("NFC", text)
