"""Checksum verification of bundles, exported folders and Argos packages (`allyouneed check`)."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.exchange.run_verification import is_run_folder, verify_run
from allyouneed.files import MANIFEST, check_folder
from allyouneed.untrusted import check_regular

_REMEDY = "Download, export or train it again."


def verify_checksums(path: Path) -> str:
    """Compare every file with its checksum.

    Args:
        path: A RUN, a bundle or an exported folder, whose manifest holds the checksums, or an `.argosmodel`, which is
            a zip file with a checksum per entry. All files of a RUN are verified, not its bundle alone.

    Returns:
        A line that reports the result.

    Raises:
        UserError: If a file is missing or has changed, or if there are no checksums.
    """
    if path.exists():
        check_regular(path)
    if path.is_file():
        return f"{path}: {_verify_zip(path)} files match their checksums"
    if is_run_folder(path):
        return verify_run(path)
    folder = next((folder for folder in (path / "bundle", path) if (folder / MANIFEST).is_file()), None)
    if folder is None:
        raise UserError(f"{path}: no {MANIFEST} found. Give a RUN, a bundle, or a folder made by `allyouneed export`.")
    check_folder(folder, (), _REMEDY)
    return f"{folder}: {len(json.loads((folder / MANIFEST).read_text())['sha256'])} files match their checksums"


def _verify_zip(path: Path) -> int:
    """Verify all entries and return their number."""
    try:
        with zipfile.ZipFile(path) as package:
            changed = package.testzip()
            if changed is None:
                return len(package.namelist())
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:  # RuntimeError: the file is encrypted
        raise UserError(f"{path}: not a package, or truncated or changed ({error}). {_REMEDY}") from error
    raise UserError(f"{path}: entry {changed} has changed since it was written. {_REMEDY}")
