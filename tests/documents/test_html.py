"""HTML: what is translated, what is kept, and that nothing else changes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segments import Code

ATTACKS = ["<a ", "<a x=\">'", "<!--", "<!DOCTYPE [>", "<b>", "<?", "<script>", "</a ", "&#", "<![CDATA["]
ATTACKS += [
    "</1",
    "<!doctype [",
    "<![if",
    "<svg><text>",
    "<svg><title>",
    "&amp;",
    "&#9",
    "<textarea>",
    "<html lang=de>",
]


def read(html: str | bytes, name: str = "a.html", **options):
    data = html if isinstance(html, bytes) else html.encode()
    return read_document(data, ReadOptions(name, **options))


def texts(html: str, name: str = "a.html") -> list[str]:
    return [segment.text for segment in read(html, name).segments]


def shout(html: str, name: str = "a.html") -> str:
    """Translate to capitals."""
    document = read(html, name)
    upper = [tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments]
    return document.write(upper).decode()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>Hallo <my-tag>Welt</my-tag>, wie geht's?</p>", ["Hallo Welt, wie geht's?"]),
        ("<p>Hallo <name>, komm!</p>", ["Hallo , komm!"]),
        ("<p>eins</p><p>zwei<div>drei</div>vier", ["eins", "zwei", "drei", "vier"]),
        ("<div>eins<ul><li>zwei<li>drei</ul></div>", ["eins", "zwei", "drei"]),
        ("<p>Der Hund<br>läuft.</p><p>Straße 5<br>Berlin</p>", ["Der Hund läuft.", "Straße 5", "Berlin"]),
        ("<title>A &amp; B</title><script>x<y</script><style>p>b{}</style><pre>a b</pre>", ["A & B"]),
        ("<p>Nutze <code>f(x)</code> so</p>", ["Nutze f(x) so"]),
        ('<p translate="no">a <b translate="yes">b</b></p><i class="x notranslate">c</i>', ["b"]),
        ("<p>\n  viel \n\t Raum </p>", ["viel Raum"]),
        ("<button>Ja</button> <button>Nein</button>", ["Ja", "Nein"]),
        ("<p>Klicke auf <button>OK</button>.</p>", ["Klicke auf OK."]),
        (
            '<img alt="Ein Hund"><input placeholder=Name><a title=\'Die "Seite"\'>x</a>',
            ["Ein Hund", "Name", 'Die "Seite"', "x"],
        ),
        ('<meta name="description" content="Über uns"><meta name=viewport content="width=1">', ["Über uns"]),
        ("a < b und <b>c</b>", ["a < b und c"]),
        ("wenn a<b dann", ["wenn a<b dann"]),
        ("<!-- Kommentar --><!DOCTYPE html><?php echo 'a > b' ?>Text", ["Text"]),
        ("<svg><text>a</text></svg><math><mi>x</mi></math>b", ["a", "b"]),
        ("<p>a<!-- c --> b</p>", ["a b"]),
    ],
)
def test_segments(html, expected):
    assert texts(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p id=x>a <b>b</b></p>", "<p id=x>A <b>B</b></p>"),
        ("<p>a &amp; b&nbsp;&lt;</p>", "<p>A &amp; B&nbsp;&lt;</p>"),
        ('<a href="x?a=1&b=2" title="t \'u\'">link</a>', '<a href="x?a=1&b=2" title="T \'U\'">LINK</a>'),
        ("<p>see <img src=a alt=b> c</p>", '<p>SEE <img src=a alt="B"> C</p>'),
        ("<p>use <code>f &lt; g</code> so</p>", "<p>USE <code>f &lt; g</code> SO</p>"),
        ("<p>\n  one\n  two\n</p>", "<p>\n  ONE TWO\n</p>"),
    ],
)
def test_only_text_changes(html, expected):
    assert shout(html) == expected


@pytest.mark.parametrize(
    "data",
    [
        "<p>ä</p>".encode("utf-8-sig"),
        "<p>ä</p>\r\n".encode("utf-16"),
        '<meta charset="iso-8859-1"><p>ä – “</p>'.encode("cp1252"),
        "<meta charset=euc-kr><p>한국어 문장입니다.</p>".encode("euc-kr"),
    ],
)
def test_encodings_are_kept(data):
    document = read(data)
    sources = [segment.source for segment in document.segments]
    assert document.write(sources) == data
    assert "�" not in "".join(segment.text for segment in document.segments)


def test_a_character_that_the_encoding_lacks_is_a_reference():
    document = read("<meta charset=euc-kr><p>한국어 문장입니다.</p>".encode("euc-kr"))
    assert document.write([("naïve 🙂",)]).endswith(b"<p>na&#239;ve &#128578;</p>")


def test_a_tag_that_does_not_end_is_said():
    document = read("<p>eins</p>\n<p>zwei <a href='x>")
    assert [segment.text for segment in document.segments] == ["eins", "zwei"]
    document = read('<p>eins</p>\n<p title="a>b"')
    assert document.notes[0].startswith("line 2: a tag does not end")


TAGS = (
    "<p>",
    "</p>",
    "<b>",
    "</b>",
    "<i>",
    "</i>",
    "<br>",
    "<img alt=x>",
    "<pre>",
    "</pre>",
    "<code>",
    "</code>",
    "<!--",
)
TEXTS = ("one", "two ", " ", "\n", "&amp;", "-->", "<x translate=no>", "</x>", "<", ">", "'", '"', "<a b='", "<script>")


@given(st.lists(st.sampled_from(TAGS + TEXTS)))
def test_identity_and_tags_in_any_order(atoms):
    html = "".join(atoms)
    document = read(html)
    sources = [segment.source for segment in document.segments]
    assert document.write(sources) == html.encode()
    assert document.write([None] * len(sources)) == html.encode()
    codes = [part.raw for source in sources for part in source if isinstance(part, Code)]
    shouted = shout(html)
    assert all(shouted.count(raw) >= codes.count(raw) for raw in codes if "alt" not in raw)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["a.html", "a.xhtml"])
def test_time_is_linear(attack, name):
    started = time.process_time()
    document = read(attack * 20_000, name)
    document.write([segment.source for segment in document.segments])
    assert time.process_time() - started < 2  # 15 s were needed for 6,666 with a quadratic parser


@pytest.mark.parametrize("name", ["a.html", "a.xhtml"])
def test_entities_of_the_document_are_kept(name):
    text = '<html><body title="a &own; &amp; b"><p title="c &own;">d &own; &eacute; e</p></body></html>'
    document = read_document(text.encode(), ReadOptions(name))
    upper = [tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments]
    upper = [tuple(p.replace("&OWN;", "&own;") if isinstance(p, str) else p for p in parts) for parts in upper]
    assert document.write(upper).decode() == (
        '<html><body title="A &own; &amp; B"><p title="C &own;">D &own; É E</p></body></html>'
    )


def test_labels_of_kept_elements_are_translated():
    text = (
        '<textarea placeholder="a">b</textarea><iframe title="c"></iframe><code title="d">e</code>'
        '<textarea placeholder="f" translate="no">g</textarea>'
    )
    assert [segment.text for segment in read_document(text.encode(), ReadOptions("a.html")).segments] == ["a", "b", "c"]
