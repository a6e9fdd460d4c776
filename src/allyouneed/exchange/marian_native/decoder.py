"""Translation with an installed Marian, to verify an export or an import."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from allyouneed.bundle import Bundle
from allyouneed.errors import UserError
from allyouneed.exchange.agreement import TokenTranslator
from allyouneed.exchange.marian_native.export import DECODER
from allyouneed.exchange.marian_native.vocabularies import token_names

_FLAGS = ("--no-spm-encode", "--no-spm-decode", "--allow-special", "--quiet")  # special: bytes below 32
_COMMANDS = (("marian-decoder",), ("pymarian", "decode"))


def find_marian() -> list[str] | None:
    """Return the beginning of a command line that translates with Marian, or None if it is not installed."""
    for name, *arguments in _COMMANDS:
        if path := shutil.which(name):
            return [path, *arguments]
    return None


def marian_native_translator(folder: Path, bundle: Bundle, marian: Sequence[str]) -> TokenTranslator:
    """Return a function that translates with Marian.

    Args:
        folder: The folder that `export_marian_native` wrote.
        bundle: The exported bundle.
        marian: The beginning of the command line, see `find_marian`.

    Returns:
        A function from texts and a beam size to target tokens.
    """
    tokenizer, extra_length = bundle.tokenizer, bundle.config.search.max_extra_length
    names, target = token_names(tokenizer), tokenizer.target
    ids = {name: i for i, name in enumerate(token_names(target))}

    def translate(texts: Sequence[str], beam_size: int) -> list[list[str]]:
        sources = [[names[i] for i in tokenizer.encode(text)] for text in texts]
        shortest = min(map(len, sources), default=0) + 1
        lines = "".join(" ".join(source) + "\n" for source in sources)
        options = {
            "config": folder / DECODER,
            "beam-size": beam_size,
            "normalize": 0,
            "max-length-factor": math.ceil((shortest + extra_length) / shortest),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        done = subprocess.run(
            [*marian, *arguments, *_FLAGS],
            input=lines.encode("utf-8"),
            capture_output=True,
            check=False,
        )
        translations = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
        if done.returncode or len(translations) != len(texts):
            last = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
            raise UserError(f"{folder}: {marian[0]} did not translate ({last}). Run it to see its messages.")
        found = (translation.split(" ") if translation else [] for translation in translations)
        return [target.pieces([ids[name] for name in tokens]) for tokens in found]

    return translate
