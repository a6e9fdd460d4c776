import gzip

import pytest

from allyouneed.data.formats import read_lines, read_pairs, read_text
from allyouneed.errors import UserError


def test_a_line_ends_at_lf_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still\u0085one\r\ntwo\n\nfour".encode())
    assert list(read_text(path)) == ["one\u2028still\u0085one", "two", "", "four"]


def test_byte_order_mark_is_not_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert list(read_text(path)) == ["one", "\ufefftwo"]


def test_gzip_is_read_directly(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("하나\n둘\n".encode()))
    assert list(read_text(path)) == ["하나", "둘"]


def test_pairs_of_two_files(tmp_path):
    (tmp_path / "s").write_bytes(b"a\n b \nc\xff\n")
    (tmp_path / "t").write_bytes(b"x\ny\nz\n")
    pairs = list(read_pairs([tmp_path / "s", tmp_path / "t"]))
    assert pairs[:2] == [(1, "a", "x", None), (2, "b", "y", None)]
    assert (pairs[2].line, pairs[2].fault) == (3, "not UTF-8")


def test_pairs_of_a_tsv_with_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("가\tgo\tnote\nno tab\n", encoding="utf-8")
    assert next(iter(read_pairs([path]))) == (1, "가", "go", None)
    assert next(iter(read_pairs([path], columns=(2, 1)))) == (1, "go", "가", None)
    assert list(read_pairs([path]))[1].fault == "fewer than 2 columns"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "missing.txt: no such file"),
        ("utf16.txt", "hello\n".encode("utf-16"), "utf16.txt:1: encoded as UTF-16"),
        ("utf32.txt", "hello\n".encode("utf-32"), "utf32.txt:1: encoded as UTF-32"),
        ("broken.gz", gzip.compress(b"hello\n" * 1000)[:30], "damaged, or not a gzip file"),
        ("plain.gz", b"hello\n", "damaged, or not a gzip file"),
        ("cut.gz", gzip.compress(b"hello\n" * 1000)[:-9] + b"?", "damaged, or not a gzip file"),
        ("unmarked.txt", "hello\n".encode("utf-16-le"), r"unmarked.txt:1: not text \(zero bytes\). If it is UTF-16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip data contains the time, so it cannot be an id
)
def test_unreadable_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_lines(tmp_path / name))


@pytest.mark.parametrize("name", ["folder", "folder.gz"])
def test_a_folder_is_not_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(is a directory\)"):
        list(read_lines(tmp_path / name))


@pytest.mark.parametrize(("content", "lines"), [(b"", []), (b"\xef\xbb\xbf", [""]), (b"\n", [""]), (b"\r\n", [""])])
def test_nearly_empty_files(tmp_path, content, lines):
    (tmp_path / "a").write_bytes(content)
    assert list(read_text(tmp_path / "a")) == lines


def test_files_of_unequal_length_are_not_parallel(tmp_path):
    (tmp_path / "s").write_bytes(b"a\nb\nc\n")
    (tmp_path / "t").write_bytes(b"x\n")
    for paths in (["s", "t"], ["t", "s"]):
        read = read_pairs([tmp_path / name for name in paths])
        assert next(read).line == 1
        with pytest.raises(UserError, match=r"t ends before line 2, .*s does not: the files are not parallel"):
            next(read)


def test_text_that_is_not_utf8_is_reported_with_the_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(UserError, match=r"a\.txt:2: not UTF-8"):
        list(read_text(tmp_path / "a.txt"))


def test_a_folder_is_not_text(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(is a directory\)\."):
        list(read_lines(tmp_path))
