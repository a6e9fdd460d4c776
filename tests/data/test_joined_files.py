"""Files that were joined with `cat`, and text with every kind of line end, mark and broken character."""

import bz2
import gzip
import json
import lzma

import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.data.files.lines import read_lines
from allyouneed.errors import UserError

PLAIN = b"eins\tone\nzwei\ttwo\n"
COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


@pytest.fixture(params=["gz", "bz2", "xz", "zst"])
def compress(request):
    return COMPRESSIONS.get(request.param, zstd)


def read(path):
    return [(pair.source, pair.target) for pair in read_pairs([path])]


def test_joined_members_are_all_read(tmp_path, compress):
    (tmp_path / "a").write_bytes(compress(PLAIN) + compress(b"") + compress(b"drei\tthree\n") + compress(PLAIN))
    assert read(tmp_path / "a") == [
        ("eins", "one"),
        ("zwei", "two"),
        ("drei", "three"),
        ("eins", "one"),
        ("zwei", "two"),
    ]
    large = b"".join(f"{i}\t{i * 7919 % 1_000_003}\n".encode() for i in range(20_000))
    (tmp_path / "b").write_bytes(compress(large) * 2 + bytes(8))  # padding
    assert b"\n".join(read_lines(tmp_path / "b")) + b"\n" == large * 2


@pytest.mark.parametrize("more", [PLAIN, b"x", *(each(PLAIN) for each in COMPRESSIONS.values())], ids=range(5))
def test_what_follows_compressed_data_is_not_ignored(tmp_path, compress, more):
    content = compress(PLAIN)
    (tmp_path / "a").write_bytes(content + more)
    if content[:3] == more[:3]:
        assert len(read(tmp_path / "a")) == 4
        return
    with pytest.raises(UserError, match=r"a: the compressed data is damaged or incomplete"):
        read(tmp_path / "a")


def test_every_truncation_is_reported(tmp_path, compress):
    content = compress(b"eins\tone\n" * 50)
    for size in range(12, len(content), 3):
        (tmp_path / "a").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"a: the compressed data is damaged or incomplete|binary data"):
            list(read_lines(tmp_path / "a"))


def test_joined_arrays_are_all_read(tmp_path):
    arrays = [
        json.dumps([{"de": f"Hund {i}", "en": f"dog {i}"} for i in range(start, start + 5)], indent=1)
        for start in (0, 5, 10)
    ]
    (tmp_path / "a").write_text("\n\ufeff".join(arrays) + "\n")
    assert read(tmp_path / "a") == [(f"Hund {i}", f"dog {i}") for i in range(15)]
    (tmp_path / "b").write_text(arrays[0] + "\nand more")
    with pytest.raises(UserError, match=r"b:23: not valid JSON \(text after the end of the array\)"):
        read(tmp_path / "b")


def test_joined_encodings_are_reported_by_line(tmp_path):
    good, bad = ["schöne Hunde\tfine dogs"] * 30, ["größere Hunde\tlarger dogs"] * 2
    (tmp_path / "a").write_bytes("\n".join(good).encode() + b"\n" + "\n".join(bad).encode("latin-1"))
    pairs = list(read_pairs([tmp_path / "a"]))
    assert [pair.line for pair in pairs if pair.fault == "not UTF-8"] == [31, 32]
    assert len(pairs) == 32
    (tmp_path / "b").write_bytes("\n".join(bad * 2).encode("latin-1") + b"\n" + "\n".join(good[:9]).encode())
    with pytest.raises(UserError, match=r"b:1: not UTF-8; probably CP1252"):
        read(tmp_path / "b")


def test_joined_documents_of_xml_are_refused_at_the_second(tmp_path):
    unit = "<tu><tuv xml:lang='de'><seg>a</seg></tuv><tuv xml:lang='en'><seg>b</seg></tuv></tu>"
    document = f'<?xml version="1.0"?>\n<tmx version="1.4"><header/><body>\n{unit}\n</body></tmx>\n'
    (tmp_path / "a").write_text(document * 2)
    with pytest.raises(UserError, match=r"a:5: not well-formed XML"):
        list(read_pairs([tmp_path / "a"], columns_for([tmp_path / "a"], (1, 2), ("de", "en"))))


ODD = [
    "a\u2028b",
    "a\u0085b",
    "a\u2029b",
    "a\x0bb",
    "a\x0cb",
    "a\x1cb",
    "a\0b",
    "\ufeffab",
    "a\ufeffb",
    "a\u200bb",
    "a\x7fb",
]
CLEAN = ["a\u2028b", "a\u0085b", "a\u2029b", "a b", "a b", "a b", "ab", "ab", "ab", "a\u200bb", "a b"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "sides"])
def test_odd_characters_do_not_divide_lines(tmp_path, ending, form):
    """U+2028, U+0085 and form feeds are within sentences in every form of file, and marks are removed."""
    pairs = [(f"{odd} {i}", f"x {odd}") for i, odd in enumerate(ODD)]
    if form == "sides":
        paths = [tmp_path / "a.de", tmp_path / "a.en"]
        for side, path in enumerate(paths):
            path.write_bytes("".join(pair[side] + ending for pair in pairs).encode())
    else:
        write = {"tsv": "{}\t{}", "csv": '"{}","{}"', "jsonl": '{{"de": "{}", "en": "{}"}}'}[form]
        paths = [tmp_path / "a"]
        paths[0].write_bytes("".join(write.format(*pair) + ending for pair in pairs).encode())
    found = list(read_pairs(paths))
    assert count_pairs(paths) == len(found) == len(ODD)
    assert [pair.fault for pair in found] == [None] * len(ODD)
    assert [(pair.source, pair.target) for pair in found] == [
        (f"{text} {i}", f"x {text}".strip()) for i, text in enumerate(CLEAN)
    ]


@pytest.mark.parametrize("form", ["lines", "tsv", "jsonl"])
def test_a_line_of_100_megabytes_is_refused_with_its_number(tmp_path, form):
    first, start = {
        "lines": ("eins", "x"),
        "tsv": ("eins\tone", "x\t"),
        "jsonl": ('{"de": "a", "en": "b"}', '{"de": "'),
    }[form]
    with open(tmp_path / "a", "wb") as file:
        file.write(f"{first}\n".encode() * 20_000 + start.encode())
        for _ in range(100):
            file.write(b"y" * 1_000_000)
    with pytest.raises(UserError, match=r"a:20001: a line of more than 16 MiB"):
        for _ in read_lines(tmp_path / "a") if form == "lines" else read_pairs([tmp_path / "a"]):
            pass
