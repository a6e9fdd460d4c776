import bz2
import gzip
import importlib.util
import io
import lzma
import os
import threading
from pathlib import Path

import pytest

from allyouneed.data.files import lines as lines_module
from allyouneed.data.files.lines import decode_lines, read_lines, read_text
from allyouneed.errors import UserError

TEXT = "하나\n둘 ein Hündchen\n"


def test_a_line_ends_at_lf_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still\u0085one\r\ntwo\n\nfour".encode())
    assert list(read_text(path)) == ["one\u2028still\u0085one", "two", "", "four"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\rtwo\rthree\r", ["one", "two", "three"]),  # Mac OS before X
        (b"one\rtwo", ["one", "two"]),
        ("one\rtwo\r".encode("utf-16"), ["one", "two"]),  # "Unicode Text" of Excel for Mac
        ("one\rstill one\ntwo".encode("utf-16"), ["one\rstill one", "two"]),
        ("\ufeff".encode("utf-16"), [""]),
        (b"one\r\ntwo\nthree\r\r\n", ["one", "two", "three\r"]),
        (b"one\rstill one\ntwo\r", ["one\rstill one", "two"]),
        (b"", []),
        (b"\xef\xbb\xbf", [""]),
        (b"\n", [""]),
        (b"\r\n", [""]),
        (b"\n\n", ["", ""]),
    ],
)
def test_line_ends(tmp_path, content, expected):
    (tmp_path / "a").write_bytes(content)
    assert list(read_text(tmp_path / "a")) == expected


def test_byte_order_marks_are_removed_everywhere(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\nthr\xef\xbb\xbfee\n")
    assert list(read_text(path)) == ["one", "two", "three"]


def test_control_characters(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\0b\tc\x0bd\x1be\x7ff\n" + "x" * 300 + "\nzero\u200bwidth\u200d \u0080\n", newline="\n")
    assert list(read_text(path)) == ["ab\tc d e f", "x" * 300, "zero\u200bwidth\u200d \u0080"]


def _zstd(content: bytes) -> bytes:
    if importlib.util.find_spec("compression") and importlib.util.find_spec("compression.zstd"):
        return importlib.import_module("compression.zstd").compress(content, options={201: 1})
    return pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(content)  # as the command does


COMPRESSIONS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": _zstd}
COMPRESSIONS["lzma"] = lambda content: lzma.compress(content, lzma.FORMAT_ALONE)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.xz"])
def test_compression_is_recognised_by_content(tmp_path, compression, name):
    compress = COMPRESSIONS[compression]
    (tmp_path / name).write_bytes(compress(TEXT.encode()))
    assert list(read_text(tmp_path / name)) == TEXT.split("\n")[:-1]
    if compression != "lzma":  # concatenated members
        (tmp_path / name).write_bytes(compress(TEXT.encode()) + compress(b"three\n"))
        assert list(read_text(tmp_path / name))[2:] == ["three"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_compression_is_reported(tmp_path, compression, keep):
    content = COMPRESSIONS[compression](os.urandom(3000).hex().encode() * 20)
    path = tmp_path / "a.bin"
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match=r"a\.bin: the compressed data is damaged or incomplete"):
        list(read_lines(path))


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_damaged_compression_is_reported(tmp_path, compression):
    content = bytearray(COMPRESSIONS[compression](os.urandom(3000).hex().encode() * 20))
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=r"a: "):
        list(read_lines(tmp_path / "a"))


def test_a_plain_file_named_gz_is_read(tmp_path):
    (tmp_path / "a.gz").write_text("one\n")
    assert list(read_text(tmp_path / "a.gz")) == ["one"]


def test_missing_zstandard_is_explained(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError

    monkeypatch.setattr("allyouneed.data.files.compression.import_module", missing)
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd1234")
    with pytest.raises(UserError, match=r"a\.zst: compressed with Zstandard.*pip install zstandard"):
        list(read_lines(tmp_path / "a.zst"))


@pytest.mark.parametrize("name", ["folder", "folder.gz"])
def test_a_folder_is_not_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: missing or not readable \(is a directory\)\. Give a file"):
        list(read_lines(tmp_path / name))


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"missing\.txt: no such file"):
        list(read_lines(tmp_path / "missing.txt"))


def test_a_very_long_line_is_reported_with_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "_LONGEST_LINE", 1 << 20)
    (tmp_path / "a").write_bytes(b"one\ntwo\n" + b"x" * (3 << 20) + b"\n")
    with pytest.raises(UserError, match=r"a:3: a line of more than 1 MiB"):
        list(read_lines(tmp_path / "a"))


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_chunks_do_not_matter(size):
    """Line ends, byte-order marks and characters that are cut at the end of a chunk are read as if they were not."""

    class Pieces(io.RawIOBase):
        def __init__(self, content):
            self.content = content

        def readable(self):
            return True

        def readinto(self, buffer):
            part, self.content = self.content[: min(size, len(buffer))], self.content[min(size, len(buffer)) :]
            buffer[: len(part)] = part
            return len(part)

    content = b"line\n" + "\ufeffeins\r\nzwei \u3042\n\ufeff\r\ndrei".encode()
    read = decode_lines(io.BufferedReader(Pieces(content)), Path("x"))
    assert list(read) == ["line", "eins", "zwei あ", "", "drei"]


def test_lines_of_a_pipe_arrive_at_once():
    """A translation from a terminal or a pipe must not wait for more than a line."""
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        read = decode_lines(stream, Path("standard input"))
        for text in ("one", "two"):
            os.write(writer, f"{text}\n".encode())
            result: list[str] = []
            thread = threading.Thread(target=lambda result=result: result.append(next(read)), daemon=True)
            thread.start()
            thread.join(5)
            assert result == [text]
        os.close(writer)
        assert list(read) == []
