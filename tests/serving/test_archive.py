import io
import zipfile

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.archive import check_archive


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_small_archives_and_other_files_pass():
    check_archive(b"text", 10)
    check_archive(zipped(a=b"x" * 10), 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(bomb=b"\0" * 1_000_000), "unpacks to more"),
        (zipped(**{"../../etc/passwd": b"x"}), "outside its own folder"),
        (zipped(**{"/etc/passwd": b"x"}), "outside its own folder"),
        (zipped(**{"..\\up": b"x"}), "outside its own folder"),
        (b"PK\x03\x04 cut off", "broken"),
    ],
)
def test_zip_bombs_and_paths_outside_the_folder_are_rejected(data, message):
    with pytest.raises(ApiError, match=message):
        check_archive(data, 10_000)
