"""Corpora by name, such as `mtdata:OPUS-books-v1-deu-eng`, which the program mtdata downloads.

mtdata (Gowda et al. 2021) is a catalogue of public parallel corpora. It runs as a separate program, since its
requirements do not fit into every environment. What it fetched is kept, so that a corpus is downloaded once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from allyouneed.durable import create_folder, rename, sync
from allyouneed.errors import UserError

PREFIX = "mtdata:"
_NAME = re.compile(r"[\w.]+-[\w.]+-[\w.]+-([A-Za-z]{2,3}(?:_\w+)*)-([A-Za-z]{2,3}(?:_\w+)*)")


def is_named(path: Path) -> bool:
    """Return whether a path is the name of a corpus."""
    return str(path).startswith(PREFIX)


def fetch(path: Path) -> Path:
    """Return the folder of a named corpus, which is downloaded unless this has been done before.

    Args:
        path: The name, with its prefix.

    Raises:
        UserError: If the name is not one of mtdata's, mtdata is not installed, or the corpus cannot be downloaded.
    """
    name = str(path).removeprefix(PREFIX)
    languages = _NAME.fullmatch(name)
    if languages is None:
        raise UserError(
            f"{path}: not a name of mtdata, which are GROUP-NAME-VERSION-LANGUAGE-LANGUAGE, for example "
            "OPUS-books-v1-deu-eng. List them with: mtdata list -l deu-eng."
        )
    folder = _cache() / name
    if folder.is_dir():
        return folder
    program = shutil.which("mtdata")
    if program is None:
        raise UserError(
            f"{path}: is downloaded with the program mtdata, which is not installed. Install it beside, for example "
            "with pipx install mtdata, or give files."
        )
    try:
        create_folder(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            pair = f"{languages[1]}-{languages[2]}"
            command = [program, "get", "-l", pair, "-tr", name, "--compress", "-o", f"{temporary}/{name}"]
            done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, check=False, text=True)
            texts = [each for each in Path(temporary, name).rglob("*") if each.is_file() and each.stat().st_size]
            if done.returncode or len(texts) < 2:
                reason = ([line for line in done.stderr.splitlines() if line.strip()] or ["no text"])[-1].strip()[:300]
                raise UserError(
                    f"{path}: cannot be downloaded ({reason}). Check the network, and the name with mtdata list -l "
                    f"{pair}; or fetch it elsewhere with mtdata get -l {pair} -tr {name} -o FOLDER, and give FOLDER."
                )
            for text in texts:
                sync(text)
            rename(Path(temporary, name), folder)
    except OSError as error:
        raise UserError(f"{path}: cannot be stored in {folder} ({(error.strerror or str(error)).lower()}).") from error
    return folder


def _cache() -> Path:
    """Return the folder for downloaded corpora, by the XDG specification."""
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if place.startswith("~"):
        raise UserError("this user has no home to store downloaded corpora in. Set XDG_CACHE_HOME to a folder.")
    return Path(place, "allyouneed", "corpora")
