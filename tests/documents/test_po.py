"""Gettext catalogues, compared with gettext's own tools and the translate toolkit's reader."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError

CATALOGUE = r"""# A comment.
msgid ""
msgstr ""
"Project-Id-Version: x\n"
"Language: \n"
"Content-Type: text/plain; charset=CHARSET\n"
"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\n"

#. For translators
#: a.c:1
#, c-format
msgctxt "menu"
msgid "Open \"%s\"\n"
msgstr ""

#, fuzzy
#| msgid "Cloze"
msgid "Close"
msgstr "Alt"

msgid "Done"
msgstr "Fertig"

#: a.c:2
msgid "%d file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""

#, fuzzy
#~ msgid "Obsolete"
#~ msgstr "Veraltet"

msgid ""
"A long message that is broken in the middle of the text because it does not fit "
"on one line."
msgstr ""
"""


def catalogue(text: str = CATALOGUE, target: str = "de", source: str = "en"):
    return read_document(text.encode(), ReadOptions("a.po", source, target))


def translated(document, new: dict[str, str]) -> str:
    return document.write([(new[s.text],) if s.text in new else None for s in document.segments]).decode()


def by_toolkit(text: str) -> dict[str, tuple[list[str], bool]]:
    """Translations and whether they are fuzzy, by message, as the translate toolkit reads them."""
    pypo = pytest.importorskip("translate.storage.pypo")
    units = pypo.pofile(io.BytesIO(text.encode())).units
    return {
        str(unit.source): ([str(form) for form in unit.target.strings], unit.isfuzzy())
        if unit.hasplural()
        else ([str(unit.target)], unit.isfuzzy())
        for unit in units
        if not unit.isobsolete()
    }


def test_messages_are_segments():
    segments = catalogue().segments
    assert [(segment.text, segment.target, segment.is_finished) for segment in segments] == [
        ('Open "%s"\n', None, False),
        ("Close", ("Alt",), False),
        ("Done", ("Fertig",), True),
        ("%d file", None, False),
        ("%d files", None, False),
        (
            "A long message that is broken in the middle of the text because it does not fit on one line.",
            None,
            False,
        ),
    ]
    assert segments[0].where == "line 12 (menu)"


@pytest.mark.parametrize("text", [CATALOGUE, CATALOGUE.replace("\n", "\r\n"), CATALOGUE.rstrip(), "", "# only\n"])
def test_identity_keeps_every_byte(text):
    document = catalogue(text)
    assert document.write([segment.source for segment in document.segments]) == text.encode()
    assert document.write([None for _ in document.segments]) == text.encode()


def test_translations_are_entered_and_marked_fuzzy():
    new = {'Open "%s"\n': '"%s" öffnen\n', "Close": "Schließen"}
    out = translated(catalogue(), new)
    expected = (
        CATALOGUE.replace('#, c-format\nmsgctxt "menu"', '#, fuzzy, c-format\nmsgctxt "menu"')
        .replace('msgid "Open \\"%s\\"\\n"\nmsgstr ""', 'msgid "Open \\"%s\\"\\n"\nmsgstr "\\"%s\\" öffnen\\n"')
        .replace('msgstr "Alt"', 'msgstr "Schließen"')
        .replace('"Language: \\n"', '"Language: de\\n"')
        .replace("CHARSET", "UTF-8")
        .replace("nplurals=INTEGER; plural=EXPRESSION;", "nplurals=2; plural=(n != 1);")
    )
    assert out == expected
    assert by_toolkit(out)["Close"] == (["Schließen"], True)


@pytest.mark.parametrize(
    ("target", "forms"),
    [
        ("de", ["%d Datei", "%d Dateien"]),
        ("ko", ["%d Dateien"]),
        ("ru", ["%d Datei", "%d Dateien", "%d Dateien"]),
        ("ar", ["%d Dateien", "%d Datei", *["%d Dateien"] * 4]),
    ],
)
def test_plurals_have_the_forms_of_the_target_language(target, forms):
    out = translated(catalogue(target=target), {"%d file": "%d Datei", "%d files": "%d Dateien"})
    assert by_toolkit(out)["%d file"] == (forms, True)
    assert f"nplurals={len(forms)};" in out


def test_a_form_of_several_numbers_contains_the_number():
    """In Russian the form of 1 is that of 21 as well."""
    text = 'msgid "one file"\nmsgid_plural "%d files"\nmsgstr[0] ""\nmsgstr[1] ""\n'
    new = {"one file": "один файл", "%d files": "%d файлов"}
    assert by_toolkit(translated(catalogue(text, "ru"), new))["one file"][0] == ["%d файлов"] * 3
    assert by_toolkit(translated(catalogue(text, "de"), new))["one file"][0] == ["один файл", "%d файлов"]


def test_the_file_s_own_plural_forms_are_kept():
    rule = "nplurals=3; plural=(n==1 ? 0 : n==2 ? 1 : 2);"
    text = CATALOGUE.replace("nplurals=INTEGER; plural=EXPRESSION;", rule).replace('Language: "', 'Language: de_DE"')
    text = text.replace("Language: \\n", "Language: de_DE\\n")
    out = translated(catalogue(text), {"%d file": "a", "%d files": "b"})
    assert by_toolkit(out)["%d file"][0] == ["a", "b", "b"]
    assert rule in out
    assert "Language: de_DE" in out


def test_a_catalogue_of_another_language_is_refused():
    text = CATALOGUE.replace("Language: \\n", "Language: pt_BR\\n")
    with pytest.raises(UserError, match=r"in pt-BR \(Brazilian Portuguese\), and the model translates into de"):
        catalogue(text)
    assert len(catalogue(text, "pt").segments) == 6


def test_line_feeds_at_the_ends_agree_with_the_message():
    text = 'msgid "\\na\\n"\nmsgstr ""\n'
    assert translated(catalogue(text), {"\na\n": "b"}).endswith('msgstr ""\n"\\n"\n"b\\n"\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('msgid "a\nmsgstr ""\n', "line 1: not a valid catalogue: a string is not closed"),
        ('msgid "a"\nmsgid "b"\nmsgstr ""\n', "line 2: not a valid catalogue: msgid occurs twice"),
        ('\nmsgstr "b"\n', "line 2: not a valid catalogue: there is no msgid before this msgstr"),
        ('msgid "a"\nmsgstr ""\n\nfalsch\n', "line 4: not a valid catalogue: this is neither"),
        ('msgid "a"\n', "the last entry has no msgstr"),
        ('"a"\n', "no keyword before the string"),
        ('msgid "a"\nmsgstr "b"\n# c\n"d"\n', "line 4: .*no keyword before the string"),
    ],
)
def test_damage_is_reported_with_its_line(text, message):
    with pytest.raises(UserError, match=message):
        catalogue(text)


@pytest.mark.skipif(not shutil.which("msgcat"), reason="needs gettext's tools")
@pytest.mark.parametrize("options", [(), ("--no-wrap",)])
def test_strings_are_broken_like_those_of_gettext(options):
    """msgcat leaves a catalogue in its own layout as it is."""

    def by_gettext(data: bytes) -> bytes:
        return subprocess.run(["msgcat", *options, "-"], input=data, capture_output=True, check=True).stdout

    words = ["eine", "Übersetzung,", 'mit "Zeichen"', "\\ und\n", "세계", "x" * 30, "Zeile\n", "das ist ein Satz."]
    messages = [" ".join(words[(i * j) % 8] for j in range(i % 37)) + " ende" for i in range(60)]
    entries = "".join(f'\nmsgid "{number} {"lang " * 30}"\nmsgstr ""\n' for number in range(60))
    before = by_gettext(('msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n' + entries).encode())
    document = read_document(before, ReadOptions("a.po"))
    after = document.write([(message,) for message in messages])
    assert by_gettext(after) == after


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"])
def test_line_ends_are_kept(line_end):
    text = CATALOGUE.replace("\n", line_end)
    document = catalogue(text)
    assert [segment.text for segment in document.segments] == [segment.text for segment in catalogue().segments]
    new = translated(document, {"Close": "Zu\nmachen", "Done": "Fertig"})
    assert new == translated(catalogue(), {"Close": "Zu\nmachen", "Done": "Fertig"}).replace("\n", line_end)
    assert catalogue(new).segments[1].target == ("Zu\nmachen",)


def test_mixed_line_ends_are_kept_where_they_are():
    text = 'msgid "a"\rmsgstr ""\r\r#: x\r\nmsgid "b"\r\nmsgstr ""\r\n\r\nmsgid "c\rd"\nmsgstr ""\n'
    document = catalogue(text)
    assert [segment.text for segment in document.segments] == ["a", "b", "c\rd"]
    assert translated(document, {"a": "x\ny", "b": "z"}) == (
        '#, fuzzy\rmsgid "a"\rmsgstr ""\r"x\\n"\r"y"\r\r#: x\r\n#, fuzzy\r\nmsgid "b"\r\nmsgstr "z"\r\n\r\n'
        'msgid "c\rd"\nmsgstr ""\n'
    )
