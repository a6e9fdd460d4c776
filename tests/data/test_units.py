"""Translation memories, XLIFF files, catalogues and alignments as sentence pairs."""

import gzip
import random
import xml.etree.ElementTree as ET
import zipfile
from xml.sax.saxutils import escape

import pytest

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.data.files.selection import closeness
from allyouneed.errors import UserError

TMX = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="de"/><body>
{}
</body></tmx>
"""
XLIFF = """<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="a" source-language="de" target-language="en" datatype="plaintext"><body>
{}
</body></file></xliff>
"""
XLIFF2 = """<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="de-AT">
<file id="f">{}</file></xliff>
"""
PO = """msgid ""
msgstr ""
"Language: {}\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals={}; plural=n>1;\\n"

{}"""


def tmx(*units):
    variants = (
        "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in unit.items()) for unit in units
    )
    return TMX.format("\n".join(f"<tu>{unit}</tu>" for unit in variants))


def texts(paths, languages=("de", "en"), columns=(1, 2)):
    paths = paths if isinstance(paths, list) else [paths]
    chosen = columns_for(paths, columns, languages)
    pairs = list(read_pairs(paths, chosen))
    assert count_pairs(paths, chosen) == len(pairs)
    return [(pair.source, pair.target) for pair in pairs if not pair.fault]


def write(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ("pt", ["pt", "PT_pt", "pt-BR"]),
        ("pt-BR", ["pt-br", "pt", "pt-PT"]),
        ("zh-Hant", ["zh_TW", "zh-HK"]),
        ("zh", ["ZH", "zh-CN"]),
        ("de", ["deu", "de-AT"]),
    ],
)  # fmt: skip
def test_languages_are_found_by_closeness(wanted, order):
    found = [closeness(wanted, code) for code in order]
    assert None not in found
    assert found == sorted(found)
    assert all(closeness(wanted, other) is None for other in ("en", "sr-Latn", "*all*", ""))
    assert closeness("zh-Hant", "zh-CN") is None
    assert closeness("x-klingon", "x-klingon") == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_memory_with_many_languages(tmp_path, encoding, compress):
    units = [
        {"en-US": "one &amp; two", "de-DE": "eins &#38; zwei", "fr": "un"},
        {"fr": "deux", "en": "two"},
        {"de": "zwei\n  Zeilen", "EN": "two\u2028lines"},
        {"pt-BR": "ônibus", "pt-PT": "autocarro", "de": "Bus"},
    ]
    path = tmp_path / "a"
    path.write_bytes(compress(tmx(*units).encode(encoding)))
    assert texts(path) == [("eins & zwei", "one & two"), ("zwei Zeilen", "two\u2028lines")]
    assert texts(path, ("en", "fr")) == [("one & two", "un"), ("two", "deux")]
    assert texts(path, ("de", "pt")) == [("Bus", "ônibus")]
    assert texts(path, ("pt-PT", "pt-BR")) == [("autocarro", "ônibus")]
    assert texts(path, columns=("fr", "de")) == [("un", "eins & zwei")]
    assert next(read_pairs([path], columns_for([path], (1, 2), ("de", "en")))).line == 4
    [note] = reading_notes([path], columns_for([path], (1, 2), ("de", "en")))
    assert "source is de-DE or de, target is en-US or EN; it also has fr, pt-BR, pt-PT" in note
    with pytest.raises(UserError, match=r"no unit has texts in both de and sv\. The languages of the file are fr, "):
        texts(path, ("de", "sv"))
    with pytest.raises(UserError, match=r"has the languages .* Choose two with --from and"):
        next(read_pairs([path]))


def test_inline_codes_of_a_memory_are_left_out(tmp_path):
    seg = (
        '<bpt i="1">&lt;b></bpt>Ein <hi>Hund</hi><ept i="1">&lt;/b></ept>, <ph x="1">{0}<sub>mehr</sub></ph>'
        "zwei<it pos='begin'>x</it>drei <ut>{y}</ut>."
    )
    path = write(tmp_path / "a", tmx({"de": seg, "en": "<![CDATA[A <dog>]]>"}))
    assert texts(path) == [("Ein Hund, zwei drei .", "A <dog>")]


def test_memories_agree_with_another_parser(tmp_path):
    """Random text with random codes, read by ElementTree and by the stream."""
    chance = random.Random(1)
    alphabet = ["a", "ü", "한", "&", "<", " ", "  ", "\u2028", "\x85", "🙂", '"', "]]>"]
    codes = ["<ph x='1'>c</ph>", "<bpt i='1'>c</bpt>", "<hi>h</hi>"]
    units = []
    for _ in range(300):
        pieces = [chance.choice(codes) if chance.random() < 0.2 else escape(chance.choice(alphabet)) for _ in range(20)]
        units.append({"de": "x" + "".join(pieces) + "x", "en": escape("".join(chance.choices(alphabet, k=9))) + "."})
    path = write(tmp_path / "a", tmx(*units))
    expected = []
    for unit in ET.parse(path).iter("tu"):
        pair = []
        for seg in unit.iter("seg"):
            text = seg.text or ""
            for code in seg:
                text += ("h" if code.tag == "hi" else "") + (code.tail or "")
            pair.append(text)
        expected.append(tuple(pair))
    found = texts(path)
    assert len(found) == len(expected) == 300
    for (source, target), (other, other_target) in zip(found, expected, strict=True):
        assert source.replace(" ", "") == other.replace(" ", "")  # a space separates words where a code was
        assert target == other_target.strip()


XLIFF_UNITS = """
<trans-unit id="1"><source>Ein <g id="1">Hund</g><x id="2"/>da</source>
  <target>A <g id="1">dog</g></target></trans-unit>
<trans-unit id="2"><source>leer</source><target/></trans-unit>
<trans-unit id="3"><source>neu</source><target state="needs-translation">new</target></trans-unit>
<trans-unit id="4"><source>von selbst</source><target state-qualifier="leveraged-mt">by machine</target></trans-unit>
<trans-unit id="5"><source>fertig</source><target state="final">done</target>
  <alt-trans><source>x</source><target>y</target></alt-trans></trans-unit>
<trans-unit id="6"><source>Eins. Zwei.</source>
  <seg-source><mrk mtype="seg" mid="1">Eins.</mrk> <mrk mtype="seg" mid="2">Zwei.</mrk></seg-source>
  <target><mrk mtype="seg" mid="1">One.</mrk> <mrk mtype="seg" mid="2">Two.</mrk></target></trans-unit>
<trans-unit id="7"><source>Nur <mrk mtype="term">Text</mrk></source>
  <target>Just <ph id="1">&lt;br/></ph>text</target></trans-unit>
"""


def test_xliff_1(tmp_path):
    path = write(tmp_path / "a", XLIFF.format(XLIFF_UNITS))
    expected = [("Ein Hund da", "A dog"), ("fertig", "done"), ("Eins.", "One."), ("Zwei.", "Two.")]
    expected.append(("Nur Text", "Just text"))
    assert texts(path) == expected
    assert texts(path, ("en", "de")) == [(target, source) for source, target in expected]
    path.write_text(path.read_text().replace(' target-language="en"', ""))
    assert texts(path) == expected


def test_xliff_2(tmp_path):
    segments = (
        '<segment><source>A <pc id="1">dog</pc></source><target>Ein <pc id="1">Hund</pc></target></segment>'
        "<ignorable><source> </source></ignorable>"
        '<segment state="initial"><source>x</source><target>y</target></segment>'
    )
    unit = f'<unit id="1"><originalData><data id="d">&lt;b&gt;</data></originalData>{segments}</unit>'
    path = write(tmp_path / "a", XLIFF2.format(unit))
    assert texts(path) == [("Ein Hund", "A dog")]


MESSAGES = """#: a.c:1
msgid "one"
msgstr "{0}"

#, fuzzy
msgid "guess"
msgstr "{0} x"

msgid "missing"
msgstr ""

#, c-format
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d {0}"
msgstr[1] "%d {0}s"

msgctxt "menu"
msgid ""
"two "
"lines\\n"
msgstr "{0}\\n{0}"

#~ msgid "old"
#~ msgstr "alt"
"""


def test_a_catalogue(tmp_path):
    path = write(tmp_path / "a", PO.format("de", 2, MESSAGES.format("Datei")))
    expected = [("one", "Datei"), ("%d file", "%d Datei"), ("%d files", "%d Dateis"), ("two lines", "Datei Datei")]
    assert texts(path, ("en", "de")) == expected
    assert texts(path) == [(target, source) for source, target in expected]
    [first, *_] = read_pairs([path], columns_for([path], (1, 2), ("en", "de")))
    assert first.line == 8
    path.write_text(path.read_text().replace('msgid "missing"', 'msgid "missing'))
    path.write_text(path.read_text() + "\nmsgid\nnonsense\n")
    with pytest.raises(UserError, match=r"a:\d+: not a line of a catalogue|a: a damaged catalogue"):
        texts(path)


@pytest.mark.parametrize("line_end", ["\r", "\r\n"])
def test_a_catalogue_with_other_line_ends(tmp_path, line_end):
    plain = write(tmp_path / "a.po", PO.format("en", 2, MESSAGES.format("Datei")))
    other = write(tmp_path / "b.po", PO.format("en", 2, MESSAGES.format("Datei")).replace("\n", line_end))
    assert texts([other]) == texts([plain])


def test_a_text_without_its_closing_quotation_mark_is_refused(tmp_path):
    header = 'msgid ""\nmsgstr ""\n"Language: de\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    good = 'msgid "a \\"b\\" c\\\\"\nmsgstr ""\n"Gut"\n'
    assert texts(write(tmp_path / "a.po", header + good)) == [("Gut", 'a "b" c\\')]
    for bad in ('msgid "a b c', '"a b c\\"', 'msgstr[0] "a'):
        with pytest.raises(UserError, match=r"a\.po:9: not a line of a catalogue \(quotation mark not closed\)"):
            texts(write(tmp_path / "a.po", header + good + bad + "\n"))


def test_catalogues_of_two_languages_are_joined(tmp_path):
    for code, word in (("de", "Datei"), ("fr", "fichier"), ("en", "")):
        write(tmp_path / "locale" / code / "LC_MESSAGES" / "a.po", PO.format(code, 2, MESSAGES.format(word)))
    english = tmp_path / "locale" / "en" / "LC_MESSAGES" / "a.po"
    english.write_text(PO.format("en", 2, 'msgid "one"\nmsgstr ""\n'))
    assert texts(tmp_path, ("de", "fr"))[0] == ("Datei", "fichier")
    assert texts(tmp_path, ("en", "fr"))[0] == ("one", "fichier")
    paths = [tmp_path / "locale" / code / "LC_MESSAGES" / "a.po" for code in ("de", "fr")]
    assert texts(paths, ("fr", "de"))[0] == ("fichier", "Datei")
    with pytest.raises(UserError, match="no parallel text in en and sv among 3 files"):
        texts(tmp_path, ("en", "sv"))


def alignment(folder, groups="de/b/1.xml.gz", count=30):
    links = "\n".join(f'<link xtargets="{2 * i + 1} {2 * i + 2};{i + 1}"/>' for i in range(count))
    other = groups.replace("de/", "en/")
    text = (
        '<?xml version="1.0"?>\n<!DOCTYPE cesAlign PUBLIC "-//CES//DTD XML cesAlign//EN" "">\n<cesAlign>'
        f'<linkGrp fromDoc="{groups}" toDoc="{other}">\n{links}<link xtargets=";3"/>\n<link xtargets="999;3"/>'
        "</linkGrp></cesAlign>"
    )
    return write(folder / "de-en.xml", text)


def document(code, count):
    sentences = "".join(f'<s id="{i}"><w>{code}</w>\n<w>{i}</w></s>' for i in range(1, count + 1))
    return f'<?xml version="1.0"?><text><p>{sentences}</p></text>'


def test_an_alignment_of_documents(tmp_path):
    path = alignment(tmp_path / "a")
    for code, count in (("de", 60), ("en", 30)):
        target = tmp_path / "a" / "xml" / code / "b" / "1.xml.gz"
        target.parent.mkdir(parents=True)
        target.write_bytes(gzip.compress(document(code, count).encode()))
        (tmp_path / "z").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "z" / f"{code}.zip", "w") as archive:
            archive.writestr(f"Books/xml/{code}/b/1.xml", document(code, count))
        unpacked = tmp_path / "u" / "Books" / "raw" / code / "b" / "1.xml"
        unpacked.parent.mkdir(parents=True)
        unpacked.write_text(document(code, count))
    alignment(tmp_path / "z")
    alignment(tmp_path / "u")
    expected = [(f"de {2 * i + 1} de {2 * i + 2}", f"en {i + 1}") for i in range(30)]
    for each in (path, tmp_path / "a", tmp_path / "z", tmp_path / "z" / "de-en.xml", tmp_path / "u"):
        assert texts(each) == expected
        assert texts(each, ("en", "de")) == [(target, source) for source, target in expected]
    faults = [pair.fault for pair in read_pairs([path], columns_for([path], (1, 2), ("de", "en"))) if pair.fault]
    assert faults == ["a sentence of the alignment is not in its document"]
    (tmp_path / "z" / "en.zip").unlink()
    with pytest.raises(UserError, match=r"de-en\.xml:3: the document en/b/1\.xml\.gz is not beside the alignment"):
        texts(tmp_path / "z")
    for name in ("../../etc/passwd", "/etc/passwd", ""):
        with pytest.raises(UserError, match="is not beside the alignment"):
            texts(alignment(tmp_path / "h", name))
