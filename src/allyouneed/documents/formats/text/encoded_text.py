"""Text of a file together with its encoding, so that it is written back in the same encoding."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from allyouneed.errors import UserError

_BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_IGNORED = ("utf-7", "utf-16", "utf-32")  # not safe; without a mark and NULs, such a declaration is wrong
_PROBE = 1_000_000  # bytes from which an unknown encoding is guessed


class EncodedText(NamedTuple):
    """Decoded text and what is needed to encode it again.

    Attributes:
        name: Name of the file, for messages.
        text: The text without byte-order mark.
        encoding: Name of the Python codec.
        bom: The byte-order mark, or b"".
        notes: What the user should know: that the encoding is a guess.
    """

    name: str
    text: str
    encoding: str
    bom: bytes = b""
    notes: tuple[str, ...] = ()

    def encode(self, text: str) -> bytes:
        """Encode a new version of the text.

        Raises:
            UserError: If the encoding lacks a character of the text.
        """
        try:
            return self.bom + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            lacking = text[error.start]
            raise UserError(
                f"{self.name}: the translation contains {lacking!r}, which the encoding {self.encoding} of the file "
                "lacks. Convert the file to UTF-8 first."
            ) from error

    def referring(self, text: str, reference: Callable[[str], str] = lambda char: f"&#{ord(char)};") -> str:
        """Replace the characters that the encoding lacks by references, in formats that have them.

        Args:
            text: A translated piece of the text.
            reference: Returns the reference to a character; the default is that of XML and HTML.
        """
        if self.encoding.startswith("utf"):
            return text
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return "".join(char if self._has(char) else reference(char) for char in text)
        return text

    def _has(self, char: str) -> bool:
        try:
            char.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True


def decode(data: bytes, name: str, declared: str | None = None) -> EncodedText:
    """Decode a file.

    The encoding is that of the byte-order mark, else the one declared in the file, else UTF-8, UTF-16 or UTF-32 if the
    bytes are valid in it, else a guess.

    Args:
        data: The bytes of the file.
        name: Name of the file, for messages.
        declared: The encoding that the file declares, such as that of an XML declaration.

    Raises:
        UserError: If the bytes are not text, or cannot be decoded and encoded again without loss.
    """
    bom, encoding = next(((mark, codec) for mark, codec in _BOMS if data.startswith(mark)), (b"", None))
    body = data[len(bom) :]
    encoding = encoding or _without_mark(body) or _known(declared)
    notes: tuple[str, ...] = ()
    if encoding is None:
        encoding = "utf-8" if _valid(body, "utf-8") else _guess(body, name)
        if encoding != "utf-8":
            notes = (f"the encoding seems to be {encoding}; if letters are wrong, convert the file to UTF-8 first",)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line:,}: the bytes are not valid {encoding}. Correct the encoding.") from error
    if text.encode(encoding, "replace") != body:
        raise UserError(
            f"{name}: its {encoding} text has several spellings of the same characters. Convert it to UTF-8 first."
        )
    return EncodedText(name, text, encoding, bom, notes)


def _known(declared: str | None) -> str | None:
    """The codec of a declared encoding; None if Python has no text encoding of this name."""
    if not declared:
        return None
    try:
        found = codecs.lookup(declared)
    except LookupError:
        return None
    name = found.name.replace("_", "-").removesuffix("-sig")
    is_of_text = getattr(found, "_is_text_encoding", True)
    return name if is_of_text and name not in _IGNORED else None


def _without_mark(body: bytes) -> str | None:
    """UTF-16 or UTF-32 without byte-order mark, recognised by the NULs of its first ASCII characters."""
    start = body[:4]
    if len(start) < 4 or len(body) % 2 or b"\0" not in start:
        return None
    candidates = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    first, second, third, fourth = (byte == 0 for byte in start)
    encoding = candidates.get((first, second, third, fourth))
    return encoding if encoding and _valid(body, encoding) else None


def _valid(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _guess(body: bytes, name: str) -> str:
    """Guess an encoding other than UTF.

    Raises:
        UserError: If most of the text is UTF-8, if nothing fits, or if the guessing library is not installed.
    """
    valid = body.decode("utf-8", "ignore")
    if len(valid) - len(valid.encode("ascii", "ignore")) > len(body) - len(valid.encode()):
        return "utf-8"  # with a few invalid bytes, whose line `decode` reports
    try:
        guess = import_module("charset_normalizer").from_bytes(body[:_PROBE]).best()
    except ImportError:
        raise UserError(
            f"{name}: not UTF-8. To recognise other encodings: pip install 'allyouneed[documents]'."
        ) from None
    if guess is None or not _valid(body, guess.encoding):
        raise UserError(f"{name}: this is not text, or its encoding is unknown. Convert it to UTF-8 first.")
    return str(guess.encoding).replace("_", "-")
