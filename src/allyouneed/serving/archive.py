"""Safety checks of uploaded zip archives, based on the central directory, before anything is unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from allyouneed.serving.api_errors import ApiError

_MAX_ENTRIES = 10_000
_ENCRYPTED = 1  # flag bit of a zip entry


def check_archive(data: bytes, max_bytes: int) -> None:
    """Reject dangerous zip archives; data that is not a zip archive is accepted.

    Args:
        data: Content of the uploaded file.
        max_bytes: Maximum total size after unpacking.

    Raises:
        ApiError: 400 if the archive is broken or encrypted, unpacks to too many bytes or files, or has paths that lead
            out of its folder.
    """
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ApiError(400, f"the file is a broken zip archive ({error})") from None
    if len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > max_bytes:
        raise ApiError(400, f"the file unpacks to more than {max_bytes:,} bytes or {_MAX_ENTRIES:,} files")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0:1]:
            raise ApiError(400, "the archive contains paths outside its own folder")
        if entry.flag_bits & _ENCRYPTED:
            raise ApiError(400, "the file is encrypted")
