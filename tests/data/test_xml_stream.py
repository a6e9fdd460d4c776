"""Hostile and damaged XML: bounded, and reported with file and line."""

import time
import tracemalloc

import pytest

from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.errors import UserError
from tests.data.test_units import TMX, tmx

PAIR = '<tu><tuv xml:lang="de"><seg>{}</seg></tuv><tuv xml:lang="en"><seg>x</seg></tuv></tu>'
LAUGHS = "\n".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 20))


def pairs(path):
    return list(read_pairs([path], columns_for([path], (1, 2), ("de", "en"))))


def write(tmp_path, content):
    path = tmp_path / "a.tmx"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "subset",
    [
        f'<!ENTITY a0 "ha">{LAUGHS}',
        '<!ENTITY a19 SYSTEM "file:///etc/passwd">',
        '<!ENTITY % p SYSTEM "file:///etc/passwd"> %p; <!ENTITY a19 "x">',
        f'<!ENTITY a19 "{"x" * 100_000}">',
    ],
    ids=["billion laughs", "external", "parameter", "long"],
)
def test_entities_are_not_expanded(tmp_path, subset):
    doctype = f"<!DOCTYPE tmx [{subset}]>"
    text = TMX.format(PAIR.format("before") + PAIR.format("&a19; after") + PAIR.format("a &lt; b &#65;"))
    path = write(tmp_path, text.replace('<!DOCTYPE tmx SYSTEM "tmx14.dtd">', doctype))
    tracemalloc.start()
    found = pairs(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert [pair.fault for pair in found] == [None, "refers to the entity a19, which is not expanded", None]
    assert found[2].source == "a < b A"


def test_an_entity_of_an_external_dtd_makes_a_text_unusable(tmp_path):
    path = write(tmp_path, TMX.format(PAIR.format("a&nbsp;b") + PAIR.format("c")))
    assert [pair.fault for pair in pairs(path)] == ["refers to the entity nbsp, which is not expanded", None]


def test_entities_in_attributes_are_bounded(tmp_path):
    text = TMX.format(f'<tu a="{"&a19;" * 3}"/>' + PAIR.format("x"))
    path = write(tmp_path, text.replace('SYSTEM "tmx14.dtd"', f'[<!ENTITY a0 "ha">{LAUGHS}]'))
    start = time.monotonic()
    with pytest.raises(UserError, match=r"a\.tmx:\d+: not well-formed XML"):
        pairs(path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TMX.format(PAIR.format("<b>x</i>")), r"a\.tmx:4: not well-formed XML \(mismatched tag\)"),
        (tmx({"de": "a", "en": "b"})[:-20], r"a\.tmx:4: not well-formed XML \(no element found\)"),
        (tmx({"de": "a", "en": "b"})[:-3], r"a\.tmx:5: not well-formed XML \(unclosed token\)"),
        (TMX.format(PAIR.format("<b>" * 2000)), r"a\.tmx:4: more than 1,000 nested tags"),
        (TMX.format(f'<tu a="{"x" * 6_000_000}">'), r"a\.tmx:4: a tag or comment of more than 4 MiB"),
        (TMX.format(PAIR.format("é")).encode("latin-1"), r"a\.tmx:4: not in the encoding that the document declares"),
        (
            TMX.format(PAIR.format("größer; schöne Grüße, Ärger")).encode("latin-1"),
            r"a\.tmx:4: not in .* probably CP1252 \(German\)\. Convert the file: iconv -f CP1252 -t UTF-8 .*a\.utf8",
        ),
        ("<?xml version='1.0' encoding='klingon'?><tmx>", "declares the encoding klingon, which is not known"),
        ("<?xml version='1.0' encoding='rot13'?><tmx>", "declares the encoding rot13, which is not known"),
        (tmx({"de": "a", "en": "b"}).encode("utf-16")[:-7], r"a\.tmx"),
    ],
    ids=["mismatch", "unclosed", "cut", "deep", "long tag", "latin-1", "German", "encoding", "codec", "cut UTF-16"],
)
def test_damage_is_reported_with_the_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        pairs(write(tmp_path, content))


def test_control_characters_are_spaces_as_in_plain_text(tmp_path):
    content = TMX.format(PAIR.format("a\x00b\x1fc&#0;d&#x1F;e&#31;f\u2028g&#x0000000B;h")) * 1
    assert pairs(write(tmp_path, content))[0].source == "ab c d e f\u2028g h"


def test_references_are_found_across_blocks(tmp_path):
    content = TMX.format("".join(PAIR.format(f"{'x' * (i % 61)}&#x1F;y") for i in range(3000)))
    assert [pair.source for pair in pairs(write(tmp_path, content))] == [
        f"{'x' * (i % 61)} y".strip() for i in range(3000)
    ]


@pytest.mark.parametrize("code", ["gb18030", "euc-kr", "shift_jis", "windows-1252", "iso-8859-15"])
def test_declared_encodings_are_read(tmp_path, code):
    text = {"gb18030": "狗", "euc-kr": "개", "shift_jis": "犬"}.get(code, "Hündchen")
    content = tmx({"de": text, "en": "dog"}).replace('version="1.0"', f'version="1.0" encoding="{code}"', 1)
    assert pairs(write(tmp_path, content.encode(code)))[0].source == text


def test_a_very_long_line_is_read_and_a_very_long_text_is_dropped(tmp_path):
    units = PAIR.format("a") + PAIR.format("y" * 3_000_000) + PAIR.format("b" * 1000) * 2000
    tracemalloc.start()
    found = pairs(write(tmp_path, TMX.format(units)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[1].fault == "longer than 1,048,576 characters"
    assert [pair.fault for pair in found[::2]].count(None) == 1001
    assert len(found) == 2002
    assert peak < 40 << 20
