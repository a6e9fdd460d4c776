"""Reading of a SentencePiece model that the user brings, instead of training one."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from pathlib import Path

from allyouneed.data.tokens.sentencepiece_model import ModelFile, open_model, read_model
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.errors import UserError
from allyouneed.untrusted import read_regular

_LARGEST = 1 << 28  # bytes
_EXAMINED = 65_536  # bytes at the beginning of a file by which its format is recognised
_EXAMINED_LINES = 50
_OTHER_FORMATS = {  # what the beginning of other formats looks like
    "the tokenizer.json of Hugging Face's tokenizers": r"\s*\{(?s:.*)\"(added_tokens|normalizer|pre_tokenizer)\"",
    "a vocabulary in JSON": r"\s*(\{|\[\s*[\[{\"])",
    "a list of BPE merges (subword-nmt, merges.txt)": r"#version|(\S+ \S+\n){9}\S+ \S+(\n|$)",
    "a SentencePiece .vocab list, which has no merges or normalisation": r"(\S+\t-?[\d.e-]+\n)+",
    "a vocabulary in YAML (Marian)": r"\"?\S+\"?: \d+\n",
    "a tiktoken vocabulary": r"([A-Za-z0-9+/=]+ \d+\n)+",
    "a list of tokens (vocab.txt)": r"(\S+\n)+",
}


def load_own_tokenizer(paths: Sequence[Path], symbols: Sequence[str] = ()) -> Tokenizer:
    """Read a SentencePiece model of any algorithm, with or without byte fallback.

    Its padding, unknown, start and end tokens get the ids 0 to 3, and are added if they are missing; the order of the
    other tokens is kept.

    Args:
        paths: A model for both languages, or one for the source and one for the target language.
        symbols: User-defined symbols to add.

    Raises:
        UserError: If a file is missing, damaged or something else, or there are more than two.
    """
    if not 1 <= len(paths) <= 2:
        raise UserError("--tokenizer: give one SentencePiece model, or one for the source and one for the target.")
    tokenizers = [Tokenizer(_read(path).with_special_first().with_symbols(symbols).as_bytes()) for path in paths]
    return Tokenizer(tokenizers[0].model, tokenizers[1]) if len(tokenizers) == 2 else tokenizers[0]


def _read(path: Path) -> ModelFile:
    if path.is_dir():
        raise UserError(f"{path}: a folder. Give the .model file that SentencePiece writes.")
    try:
        content = read_regular(path, _LARGEST)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        model = read_model(content)
        open_model(content)
    except (ValueError, RuntimeError) as error:
        raise _error(path, content) from error
    return model


def _error(path: Path, content: bytes) -> UserError:
    """Return the error for a file that is not a SentencePiece model: what it is, and what to do instead."""
    try:
        start = getincrementaldecoder("utf-8")().decode(content[:_EXAMINED])
    except UnicodeDecodeError:
        start = "\0"
    beginning = "\n".join(start.splitlines()[:_EXAMINED_LINES])
    if not content:
        return UserError(f"{path}: the file is empty. Give the .model file that SentencePiece writes.")
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")):
        return UserError(f"{path}: compressed. Unpack it first, then give the .model file of SentencePiece.")
    for kind, pattern in _OTHER_FORMATS.items():
        if "\0" not in start and re.match(pattern, beginning):
            return UserError(
                f"{path}: {kind}. Give the .model file that SentencePiece writes; it is often next to this file, as "
                "tokenizer.model, source.spm or spiece.model."
            )
    if content.startswith(b"\n"):  # the first field, a piece
        return UserError(f"{path}: a damaged SentencePiece model. Give the .model file that SentencePiece writes.")
    return UserError(f"{path}: not a SentencePiece model. Give the .model file that SentencePiece writes.")
