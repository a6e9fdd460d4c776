"""Java properties, Apple's strings and Android's resources: only values change, and other readers read them."""

from __future__ import annotations

import plistlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, format_of, read_document
from allyouneed.documents.segments import Code
from allyouneed.errors import UserError

PROPERTIES = "# comment \\\nkey = Value \\\n   continued\r\nb:It''s {0}\n"
PROPERTIES += "c\\ d  X\\u00fc\\n\\t\\\\\nempty=\n! no\n e=\\ lead\nlast=a\\"
STRINGS = (
    '/* c = "x"; */\n"key" = "It\\"s %@\\n";\r\nplain = \'hello\'; // x\n"only key";\n"u" = "\\U00fc";\n"empty" = "";\n'
)
ANDROID = """<?xml version="1.0" encoding="utf-8"?>
<resources xmlns:xliff="urn:oasis:names:tc:xliff:document:1.2">
    <!-- comment -->
    <string name="a">Don\\'t  <b>worry</b>,\\n
        <xliff:g id="n" example="5">%1$s</xliff:g> &amp; "two  spaces" \\u00fc</string>
    <string name="q">"It's quoted"</string>
    <string name="no" translatable="false">no</string>
    <string name="r">@string/a</string>
    <string name="c"><![CDATA[<b>Hi</b> you]]></string>
    <plurals name="p">
        <item quantity="one">%d file</item>
        <item quantity="other">%d files</item>
    </plurals>
    <string-array name="x"><item>One dog</item><item>2</item><item/></string-array>
</resources>
"""
DICT = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>n</key><dict>
  <key>NSStringLocalizedFormatKey</key><string>%#@n@</string>
  <key>n</key>
  <dict>
    <key>NSStringFormatSpecTypeKey</key>
    <string>NSStringPluralRuleType</string>
    <key>one</key>
    <string>%d file</string>
    <key>other</key>
    <string>%d files</string>
  </dict>
</dict></dict></plist>
"""
CASES = [
    ("a.properties", PROPERTIES, "utf-8"),
    ("a.properties", "k=Gr\xfc\xdfe\n", "latin-1"),
    ("a.strings", STRINGS, "utf-8"),
    ("a.strings", STRINGS, "utf-16"),
    ("strings.xml", ANDROID, "utf-8"),
    ("a.stringsdict", DICT, "utf-8-sig"),
    ("a.strings", '<plist version="1.0"><dict><key>a</key><string>b c</string></dict></plist>', "utf-8"),
]


def read(name: str, text: str, target: str = "de", encoding: str = "utf-8"):
    return read_document(text.encode(encoding), ReadOptions(name, "en", target))


def texts(document) -> list[str]:
    return [segment.text for segment in document.segments]


@pytest.mark.parametrize(("name", "text", "encoding"), CASES)
def test_identity_keeps_every_byte(name, text, encoding):
    document = read(name, text, encoding=encoding)
    assert len(document.segments) > 0
    assert document.write([segment.source for segment in document.segments]) == text.encode(encoding)
    assert document.write([None for _ in document.segments]) == text.encode(encoding)


@pytest.mark.parametrize(("name", "text", "encoding"), CASES)
def test_translations_are_read_back(name, text, encoding):
    """Characters that formats escape come back, in every encoding."""
    new = "'It''s' \"<세계>\" & \\ % ü\n\tz"
    text = text.replace("{0}", "")
    document = read(name, text, encoding=encoding)
    if encoding == "latin-1":
        assert b"\\uc138" in document.write([(new,) for _ in document.segments])
    again = read_document(document.write([(new,) for _ in document.segments]), ReadOptions(name, "en", "de"))
    assert set(texts(again)) == {new}


def test_values_of_properties():
    document = read("a.properties", PROPERTIES)
    assert texts(document) == ["Value continued", "It's {0}", "Xü\n\t\\", " lead", "a\\"]
    assert [segment.where for segment in document.segments][:2] == ["line 2 (key)", "line 4 (b)"]
    written = document.write([("Wert",), ("Sie's {0}",), None, None, None]).decode()
    assert written == PROPERTIES.replace("Value \\\n   continued", "Wert").replace("It''s", "Sie''s")


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="a =:\\#!\n\r\tuü0'{}세", min_size=1))
def test_any_value_of_properties_is_read_back_by_the_toolkit(value):
    quote = pytest.importorskip("translate.misc.quote")
    document = read("a.properties", "key=x\nother=y\n")
    line = document.write([(value,), None]).decode().split("=", 1)[1].removesuffix("\nother=y\n")
    assert "\n" not in line
    assert quote.propertiesdecode(line.removeprefix("\\") if line.startswith("\\ ") else line) == value


def test_values_of_strings():
    document = read("a.strings", STRINGS)
    assert texts(document) == ['It"s %@\n', "hello", "only key", "ü"]
    written = document.write([('Das "ist" %@\n',), ("Hallo",), ("nur",), None]).decode()
    assert written == STRINGS.replace('It\\"s %@', 'Das \\"ist\\" %@').replace("'hello'", '"Hallo"').replace(
        '"only key";', '"only key" = "nur";'
    )


@pytest.mark.parametrize(("text", "line"), [('"a" = "b"', 1), ('"a" = "b";\nfalse!', 2), ('"a" = "b;\n', 1)])
def test_damaged_strings_are_refused(text, line):
    with pytest.raises(UserError, match=f"line {line}: not an entry of the form"):
        read("a.strings", text)


def test_compiled_strings_are_refused():
    with pytest.raises(UserError, match="plutil"):
        read("a.strings", "bplist00")


def test_resources_of_android():
    assert format_of("strings.xml", ANDROID.encode()).title == "Android strings"
    document = read("strings.xml", ANDROID)
    assert texts(document) == [
        "Don't worry,\n %1$s & two  spaces ü",
        "It's quoted",
        "<b>Hi</b> you",
        "%d file",
        "%d files",
        "One dog",
    ]
    placeholder = next(part for part in document.segments[0].source if isinstance(part, Code) and part.text)
    written = document.write([("Hm's  ", placeholder), ("Wie's",), ("<i>",), ("@a",), None, None]).decode()
    assert '<string name="a">Hm\\\'s \\u0020<xliff:g id="n" example="5">%1$s</xliff:g></string>' in written
    assert '<string name="q">"Wie\\\'s"</string>' in written
    assert '<string name="c"><![CDATA[<i>]]></string>' in written
    assert '<item quantity="one">\\@a</item>' in written


@pytest.mark.parametrize("target", ["de", "ko", "ru"])
def test_plural_forms_are_completed(target):
    added = ["few", "many"] if target == "ru" else []
    android = read("strings.xml", ANDROID, target)
    written = android.write([None] * 4 + [("%d viele",), None]).decode()
    lines = "".join(f'<item quantity="{each}">%d viele</item>\n        ' for each in [*added, "other"])
    assert written == ANDROID.replace('<item quantity="other">%d files</item>\n        ', lines).replace(
        '<item quantity="other">%d files</item>', lines.rstrip()
    )
    apple = read("a.stringsdict", DICT, target).write([None, ("%d viele",)])
    forms = plistlib.loads(apple)["n"]["n"]
    assert {name: forms[name] for name in added} == dict.fromkeys(added, "%d viele")
    assert forms["one"] == "%d file"


def test_entities_are_kept_and_not_expanded():
    text = '<!DOCTYPE resources [<!ENTITY app "A">]>\n<resources><string name="a">Open &app; now</string></resources>'
    document = read("a.xml", text)
    [segment] = document.segments
    assert [part.raw for part in segment.source if isinstance(part, Code)] == ["&app;"]
    assert document.write([("Jetzt ", segment.source[1])]).decode() == text.replace("Open &app; now", "Jetzt &app;")
