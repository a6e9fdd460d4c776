"""Files of glossaries: TSV, CSV and TBX as people export them."""

import gzip

import pytest

from allyouneed.errors import UserError
from allyouneed.translation.terminology.glossary_files import read_glossary

TBX_2 = """<?xml version='1.0'?>
<!DOCTYPE martif SYSTEM "TBXcoreStructV02.dtd" [<!ENTITY bomb "boom">]>
<martif type="TBX" xml:lang="en"><text><body>
<termEntry id="1"><langSet xml:lang="en-US"><tig><term>mouse</term></tig>
<tig><term>computer  <hi>mouse</hi></term></tig>
</langSet><langSet xml:lang="de"><ntig><termGrp><term>Nager</term>
<termNote type="administrativeStatus">deprecatedTerm-admn-sts</termNote></termGrp></ntig>
<tig><term>Maus</term></tig></langSet></termEntry>
<termEntry id="2"><langSet xml:lang="en"><tig><term>untranslated</term></tig></langSet></termEntry>
</body></text></martif>"""
TBX_3 = """<tbx style="dca" type="TBX-Basic" xml:lang="en" xmlns="urn:iso:std:iso:30042:ed-2"><text><body>
<conceptEntry id="1"><langSec xml:lang="de"><termSec><term>Alt</term></termSec><termSec><term>Neu</term>
<termNote type="administrativeStatus">preferredTerm-admn-sts</termNote></termSec></langSec>
<langSec xml:lang="en"><termSec><term>new</term></termSec></langSec></conceptEntry></body></text></tbx>"""


@pytest.mark.parametrize(
    ("name", "content", "entries"),
    [
        ("g.tsv", "dog\tHund\ncat\tKatze\n", [("dog", "Hund"), ("cat", "Katze")]),
        ("g.txt", "\ufeffdog\tHund\r\n\r\ncat\tKatze", [("dog", "Hund"), ("cat", "Katze")]),
        ("g.tsv", "dog \t Hund\tan animal\n", [("dog", "Hund")]),
        ("g.tsv", "it\tes\n", [("it", "es")]),
        ("g.tsv", "source\ttarget\ndog\tHund\n", [("dog", "Hund")]),
        ("g.tsv", "de\tfr\ten\nHund\tchien\tdog\n", [("dog", "Hund")]),
        ("g.tsv", '5" disk\t5-Zoll-Diskette\n', [('5" disk', "5-Zoll-Diskette")]),
        ("g.csv", 'dog,Hund\n"hello, you","hallo, du"\n', [("dog", "Hund"), ("hello, you", "hallo, du")]),
        ("g.csv", "dog;Hund\ncat;Katze\n", [("dog", "Hund"), ("cat", "Katze")]),
        ("g.csv", "dog,Hund,en,de\ndog,chien,en,fr\n", [("dog", "Hund")]),
        ("g.tbx", TBX_2, [("mouse", "Maus"), ("computer mouse", "Maus")]),
        ("g.tbx", TBX_3, [("new", "Neu")]),
    ],
)
def test_tables_and_tbx_are_read(tmp_path, name, content, entries):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert list(read_glossary(path, "en", "de").entries) == entries


def test_compressed_files_and_utf_16_are_read(tmp_path):
    packed, wide = tmp_path / "g.tsv.gz", tmp_path / "g.tsv"
    packed.write_bytes(gzip.compress(b"dog\tHund\n"))
    wide.write_text("dog\tHütte\n", encoding="utf-16")
    assert read_glossary(packed, "en", "de").entries[0] == ("dog", "Hund")
    assert read_glossary(wide, "en", "de").entries[0] == ("dog", "Hütte")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.tsv", "dog\tHund\ncat\n", "g.tsv, line 2: one column."),
        (
            "g.tbx",
            TBX_2.replace("mouse", "\0"),
            "g.tbx, line 4: not TBX (Invalid character: Char 0x0 out of allowed range",
        ),
        ("g.tsv", "fr\tde\nchien\tHund\n", "g.tsv: the columns are fr, de; none is en."),
        ("g.csv", "EN,FR\ndog,chien\n", "g.csv: the columns are en, fr; none is de."),
        ("g.tsv", "fr\tit\tes\na\tb\tc\n", "g.tsv: the columns are fr, it, es; none is en."),
        ("g.tsv", "dog\tHund\ncat\t \n", "g.tsv, line 2: the translation is empty."),
        ("g.tsv", "dog\tHund\n\tKatze\n", "g.tsv, line 2: the term is empty."),
        ("g.tsv", f"dog\t{'x' * 1001}\n", "g.tsv, line 1: the translation has more than 1,000 characters."),
        ("g.csv", "hello, you,hallo, du\n", "g.csv, line 1: 4 columns."),
        ("g.csv", 'a,b\n"c,d\n' + "e,f\n" * 40_000, "g.csv, line 2: not CSV (field larger than field limit"),
        ("g.tsv", "", "no terms with a translation from en to de."),
        ("g.tbx", "<martif><text>", "g.tbx, line 1: not TBX"),
        ("g.tbx", TBX_3.replace("de", "fr"), "no terms with a translation from en to de."),
    ],
)
def test_what_is_not_a_glossary_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_glossary(path, "en", "de")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    for name in ("g.tsv", "g.tbx"):
        with pytest.raises(UserError, match=name):
            read_glossary(tmp_path / name, "en", "de")
