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


def test_what_is_small_or_no_archive_passes():
    check_archive(b"text", 10)
    check_archive(zipped(a=b"x" * 10), 10)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped(bomb=b"\0" * 1_000_000), "unpacks to more"),
        (zipped(**{"../../etc/passwd": b"x"}), "lead out"),
        (zipped(**{"/etc/passwd": b"x"}), "lead out"),
        (zipped(**{"..\\up": b"x"}), "lead out"),
        (b"PK\x03\x04 cut off", "broken"),
    ],
)
def test_bombs_and_ways_out_are_refused(data, words):
    with pytest.raises(ApiError, match=words):
        check_archive(data, 10_000)
