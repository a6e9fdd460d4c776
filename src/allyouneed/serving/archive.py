"""What an uploaded file is allowed to unpack to: looked up in its directory, before anything is unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from allyouneed.serving.api_errors import ApiError

_MOST_FILES = 2000


def check_archive(data: bytes, most_bytes: int) -> None:
    """Nothing for what is no zip. Errors: `ApiError` 400 for one that is broken or encrypted, unpacks to more than
    `most_bytes`, or has names that lead out of its folder."""
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return
    try:
        inside = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ApiError(400, f"the file is a broken zip archive ({error})") from None
    if len(inside) > _MOST_FILES or sum(entry.file_size for entry in inside) > most_bytes:
        raise ApiError(400, f"the file unpacks to more than {most_bytes:,} bytes or {_MOST_FILES} files")
    for entry in inside:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0:1]:
            raise ApiError(400, "the file has entries that lead out of its folder")
        if entry.flag_bits & 1:
            raise ApiError(400, "the file is encrypted")
