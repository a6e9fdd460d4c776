"""Subword tokenizer (section 5.1) by SentencePiece, with one vocabulary for both languages or one for each.

Text is normalised to Unicode NFC, so that decomposed Korean, as macOS writes it, equals composed Korean. There is no
other normalisation: the model could not generate a character that is removed from its training targets.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from allyouneed.data.directions import CODE
from allyouneed.data.tokens.sentencepiece_model import ModelFile, open_model, read_model
from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, read_regular

PAD, UNK, BOS, EOS = 0, 1, 2, 3
_LARGEST = 1 << 28  # bytes of a model
_NOT_TEXT = {PAD, BOS, EOS}
LINE_ENDS = re.compile(r"[\r\n]+")
SHARED_FILE, SEPARATE_FILES = "tokenizer.model", ("source.model", "target.model")


class Tokenizer:
    """Conversion between text and token ids.

    In every vocabulary PAD, UNK, BOS and EOS are the ids of the padding, unknown, start and end tokens.

    Args:
        model: A serialised SentencePiece model.
        target: Tokenizer of the target language with a separate vocabulary; None if both languages share this one.

    Raises:
        RuntimeError: If it is not such a model: text that becomes padding would be no text to the model.
    """

    code = ""  # of the target language, see `with_code`

    def __init__(self, model: bytes, target: Tokenizer | None = None):
        self.model = model
        self.target = target or self
        self._processor = open_model(model)
        own = self._processor
        if own.vocab_size() <= EOS or not own.is_unknown(UNK) or not all(map(own.is_control, _NOT_TEXT)):
            raise RuntimeError("ids 0 to 3 are not those of the padding, unknown, start and end tokens")
        self._pieces = self._processor.id_to_piece(list(range(self._processor.vocab_size())))

    def __len__(self) -> int:
        return self._processor.vocab_size()

    @property
    def shared(self) -> bool:
        """Whether source and target have the same vocabulary."""
        return self.target.model is self.model

    @cached_property
    def content(self) -> ModelFile:
        """The pieces of the model, parsed at the first access; raises `UserError` if they are damaged."""
        try:
            return read_model(self.model)
        except ValueError as error:
            raise UserError(f"the tokenizer is damaged ({error}). Get the model or the tokenizer again.") from error

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """User-defined symbols, each of which is always a single token."""
        return tuple(self.content.symbols)

    def split_code(self, text: str) -> tuple[str, str]:
        """Separate leading user-defined symbols, such as the target language `<2de>`, from the text."""
        rest = text
        while symbol := next((symbol for symbol in self.symbols if rest.startswith(symbol)), ""):
            rest = rest[len(symbol) :].lstrip()
        code = text[: len(text) - len(rest)].rstrip()
        return code, text[len(code) :]

    @cached_property
    def codes(self) -> list[str]:
        """Codes of target languages in the vocabulary, such as `>>fr<<`."""
        return [piece for piece in self._pieces if CODE.fullmatch(piece)]

    def has_code(self, text: str) -> bool:
        """Return whether a text begins with the code of a target language."""
        return any(text.startswith(code) for code in self.codes)

    def with_code(self, code: str) -> Tokenizer:
        """Return a tokenizer that puts a code in front of each source without one."""
        coded = copy.copy(self)
        coded.code = code
        return coded

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end tokens."""
        return self._processor.encode(to_nfc(self._coded(text)))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts on one thread."""
        if len(texts) == 1:  # SentencePiece starts another thread for a list, which takes longer than a sentence
            return [self.encode(texts[0])]
        return self._processor.encode([to_nfc(self._coded(text)) for text in texts], num_threads=1)

    def _coded(self, text: str) -> str:
        return f"{self.code} {text}" if self.code and text.strip() and not self.has_code(text) else text

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
        """Return the files from which `vocabulary.load_tokenizers` loads this tokenizer, by name."""
        if self.shared:
            return {SHARED_FILE: self.model}
        return dict(zip(SEPARATE_FILES, (self.model, self.target.model), strict=True))


def load_tokenizer(path: Path, target: Tokenizer | None = None) -> Tokenizer:
    """Load a SentencePiece model.

    Args:
        path: The file.
        target: Tokenizer of the target language with a separate vocabulary.

    Raises:
        UserError: If the file is missing or is not a SentencePiece model.
    """
    try:
        return Tokenizer(read_regular(path, _LARGEST), target)
    except (OSError, RuntimeError) as error:
        remedy = f"For a RUN, delete {path.parent} and run the same command again; for a bundle, download it again."
        if isinstance(error, OSError) and path.exists():
            raise cannot_read(path, error, remedy) from error
        raise UserError(f"{path}: missing, or not a SentencePiece model. {remedy}") from error


def to_nfc(text: str) -> str:
    """Normalise text to Unicode NFC, composed characters."""
    return unicodedata.normalize("NFC", text)
