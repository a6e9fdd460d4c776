"""Checksum verification of bundles, exported folders and Argos packages (`allyouneed check`)."""

from __future__ import annotations

from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.exchange.run_verification import is_run_folder, verify_run
from allyouneed.files import MANIFEST, check_folder, read_manifest
from allyouneed.untrusted import cannot_read, check_regular
from allyouneed.zip_files import check_contents, open_zip

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
    return f"{folder}: {len(read_manifest(folder, _REMEDY))} files match their checksums"


def _verify_zip(path: Path) -> int:
    """Verify all entries and return their number."""
    try:
        with open_zip(path, str(path)) as package:
            check_contents(package, str(path))
            return len(package.namelist())
    except OSError as error:
        raise cannot_read(path, error, _REMEDY) from error
