"""`allyouneed check`: whether files are still what was written."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.files import MANIFEST, check_folder

_REMEDY = "Get it again, or export or train it anew."


def check(path: Path) -> str:
    """Of a RUN, a bundle, an exported folder (by its manifest) or an .argosmodel (by the zip's own checksums).

    Returns what to say. Errors: `UserError` naming the file that is missing or changed, or where there is no checksum.
    """
    if path.is_file():
        return f"{path}: {_check_zip(path)} files as written"
    folder = next((place for place in (path / "bundle", path) if (place / MANIFEST).is_file()), None)
    if folder is None:
        raise UserError(f"{path}: no {MANIFEST} there. Give a run, a bundle, or a folder made by `allyouneed export`.")
    check_folder(folder, (), _REMEDY)
    return f"{folder}: {len(json.loads((folder / MANIFEST).read_text())['sha256'])} files as written"


def _check_zip(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as package:
            changed = package.testzip()
            if changed is None:
                return len(package.namelist())
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:  # RuntimeError: a password is wanted
        raise UserError(f"{path}: not a package, truncated or changed ({error}). {_REMEDY}") from error
    raise UserError(f"{path}: {changed} in it has changed since it was written. {_REMEDY}")
