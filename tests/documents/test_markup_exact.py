"""Generated XML and HTML, letter by letter: only text changes, and the generator knows what is text."""

from __future__ import annotations

from typing import NamedTuple
from xml.parsers.expat import ParserCreate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules

FEW = settings(max_examples=150, deadline=None)


class Atom(NamedTuple):
    """A piece of a document, and what it is when all text is in capitals."""

    raw: str
    shouted: str


def fixed(*raws: str) -> st.SearchStrategy[Atom]:
    return st.sampled_from(raws).map(lambda raw: Atom(raw, raw))


def spoken(*raws: str) -> st.SearchStrategy[Atom]:
    return st.sampled_from(raws).map(lambda raw: Atom(raw, raw.upper()))


def text_of(atoms: list[Atom]) -> Atom:
    return Atom("".join(atom.raw for atom in atoms), "".join(atom.shouted for atom in atoms))


SPACE = fixed("", "", " ", "\n", "\n\t  ", "\r\n  ")
PLAIN = spoken("one", "two three", "über ö", "하나 둘", '"so"')
WORDS = st.one_of(PLAIN, spoken("it's"))
XML_WORDS = st.one_of(
    PLAIN,  # an apostrophe is a reference in all of the document
    st.sampled_from(["a &amp; b", "x &lt; y", "&#x2014; c", "d &apos;e&apos;"]).map(
        lambda raw: Atom(
            raw,
            raw.upper()
            .replace("&AMP;", "&amp;")
            .replace("&APOS;", "&apos;")
            .replace("&LT;", "&lt;")
            .replace("&#X", "&#x"),
        )
    ),
    st.just(Atom("f &own; g", "F &own; G")),
)
XML_MARKUP = fixed(
    "<!-- a <b> comment -->", "<?php echo '<a>'; ?>", "<empty/>", "<x:y xmlns:x='urn:x' x:z = \"1\"/>",
    "<code>f &lt; g</code>", '<k translate="no">Keep <b>this</b></k>',
)  # fmt: skip
CDATA = spoken("one", "a < b & c", "<d>", "e]] f").map(
    lambda atom: Atom(f"<![CDATA[{atom.raw}]]>", f"<![CDATA[{atom.shouted}]]>")
)
XML_TAGS = ("b", "p", "ns:item", "Über", "_x.y-z", "title")
ATTRIBUTES = st.sampled_from(
    [
        "",
        " ",
        " a='1'",
        ' a="x &lt; &quot;y&quot;"',
        '\n  a=\'it"s\'\tb = "c>d"',
        ' xml:id="i1" xmlns:q="urn:q" q:r=""',
    ]
)


def text_atoms(words: st.SearchStrategy[Atom]) -> st.SearchStrategy[Atom]:
    return st.tuples(SPACE, words, SPACE).map(lambda atoms: text_of(list(atoms)))


def element(content: st.SearchStrategy[Atom]) -> st.SearchStrategy[Atom]:
    def build(name: str, attributes: str, inner: Atom, end: str) -> Atom:
        start, stop = f"<{name}{attributes}>", f"</{name}{end}>"
        return Atom(start + inner.raw + stop, start + inner.shouted + stop)

    return st.builds(build, st.sampled_from(XML_TAGS), ATTRIBUTES, content, st.sampled_from(["", " ", "\n"]))


def mixed(leaf: st.SearchStrategy[Atom], words: st.SearchStrategy[Atom]) -> st.SearchStrategy[Atom]:
    """Markup with text between, never two texts side by side."""
    pair = st.tuples(leaf, st.one_of(text_atoms(words), SPACE)).map(lambda atoms: text_of(list(atoms)))
    return st.tuples(text_atoms(words), st.lists(pair, max_size=5).map(text_of)).map(lambda atoms: text_of(list(atoms)))


XML_CONTENT = st.recursive(
    mixed(st.one_of(XML_MARKUP, CDATA), XML_WORDS),
    lambda inner: mixed(st.one_of(XML_MARKUP, CDATA, element(inner)), XML_WORDS),
    max_leaves=8,
)
PROLOGUES = st.sampled_from(
    [
        "",
        '<?xml version="1.0"?>\n',
        "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\r\n<!-- x -->\n",
    ]
)
DOCTYPE = (
    "<!DOCTYPE doc [\n  <!ENTITY own \"v > ]>'\">\n  <!-- it's ]> -->\n  <?pi ]> ?>\n"
    "  <!ELEMENT doc ANY><!ATTLIST doc id ID #IMPLIED>\n]>\n"
)


def shout(document) -> bytes:
    return document.write([tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments])


def identity(document) -> set[bytes]:
    return {document.write([s.source for s in document.segments]), document.write([None] * len(document.segments))}


@FEW
@given(PROLOGUES, XML_CONTENT)
def test_of_xml_only_text_changes(prologue, content):
    raw = f"{prologue}{DOCTYPE}<doc a='1'>{content.raw}</doc>\n<!-- end -->\n"
    document = read_document(raw.encode(), ReadOptions("a.xml"))
    assert identity(document) == {raw.encode()}
    shouted = shout(document)
    assert shouted.decode() == f"{prologue}{DOCTYPE}<doc a='1'>{content.shouted}</doc>\n<!-- end -->\n"
    parser = ParserCreate()
    parser.DefaultHandler = lambda data: None
    parser.Parse(shouted, True)


HTML_MARKUP = fixed(
    "<br>", "<BR/>", "<hr class=x>", "<p>", "</p>", "<P ID=a>", "<li>", "<td>", "</b>", "<b>", "</unknown>", "</a>",
    "<!--[if IE]><p>x</p><![endif]-->", "<![if !IE]>", "<![endif]>", "<script>a < b && '<p>'</script>",
    "<STYLE>p > b {}</STYLE>", "<svg><path d='M0 0'/></svg>", "<math><mi>x</mi><mo>&lt;</mo></math>",
    "<my-element data-x='1 > 0'>", "</my-element>", "<input type=text value=abc disabled>", "<code>x &lt; y</code>",
    "<i translate=no>Keep</i>", "<!doctype html>", "<?xml version='1.0'?>", "<img src=a.png>", "<a href=x?a=1&b=2>",
)  # fmt: skip
HTML_TEXT = st.one_of(
    spoken("<img alt='a b'>", '<div title="c d">', "<option>e</option>", "<textarea>f\n g</textarea>").map(
        lambda atom: Atom(atom.raw, _only_text(atom.raw))
    ),
    st.just(Atom("<svg><text x=1>g</text></svg>", "<svg><text x=1>G</text></svg>")),
    st.just(Atom("<template><p>h</p></template>", "<template><p>H</p></template>")),
)
HTML_WORDS = st.one_of(WORDS, st.just(Atom("caf&eacute;&nbsp;&amp; x > y", "CAF&Eacute;&nbsp;&amp; X > Y")))


def _only_text(raw: str) -> str:
    for text in ("a b", "c d", ">e<", ">f\n g<"):
        raw = raw.replace(text, text.upper())
    return raw


@FEW
@given(mixed(st.one_of(HTML_MARKUP, HTML_TEXT), WORDS), st.sampled_from(["a.html", "b.htm"]))
def test_of_html_only_text_changes(content, name):
    document = read_document(content.raw.encode(), ReadOptions(name))
    assert identity(document) == {content.raw.encode()}
    assert shout(document).decode() == content.shouted


HOSTILE = (
    "<", ">", "</", "<!", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<!DOCTYPE ", "[", "]", "&", "&#", "&amp;",
    ";", "=", "'", '"', "/", "a", "B ", "\n", "<svg>", "<text>", "</svg>", "<textarea>", "<title>", "<template>",
    "<script>", "</script>", "<html lang=de>", " xml:lang='de'", "\0", "\x85", "0x", "é",
)  # fmt: skip


@FEW
@given(st.lists(st.sampled_from(HOSTILE), max_size=30).map("".join), st.booleans(), st.booleans())
def test_hostile_fragments_come_back(text, is_xml, is_xhtml):
    markup = MarkupText(text, MarkupRules(is_xml, is_xhtml, source="de", target="en"))
    assert markup.write([segment.source for segment in markup.segments]) == text
    assert markup.write([None] * len(markup.segments)) == text
    markup.write([("x ]]> & < y",)] * len(markup.segments))


def written(text: str, translation: str = "x", **rules) -> str:
    markup = MarkupText(text, MarkupRules(**rules))
    return markup.write([(translation,)] * len(markup.segments))


@pytest.mark.parametrize(
    ("text", "rules", "expected"),
    [
        ('<html lang="de"><p>a</p></html>', {}, '<html lang="en"><p>x</p></html>'),
        ("<HTML LANG=de-AT><p lang='de'>a</p></HTML>", {}, "<HTML LANG=en><p lang='en'>x</p></HTML>"),
        ('<html lang="fr"><p lang="fr">a</p></html>', {}, '<html lang="en"><p lang="fr">x</p></html>'),
        ('<html lang="en-GB"><p>a</p></html>', {}, '<html lang="en-GB"><p>x</p></html>'),
        ('<html lang="de"><p></p></html>', {}, '<html lang="de"><p></p></html>'),
        ('<html lang=""><p>a</p></html>', {}, '<html lang=""><p>x</p></html>'),
        ('<html lang="{{ LANGUAGE_CODE }}"><p>a</p></html>', {}, '<html lang="{{ LANGUAGE_CODE }}"><p>x</p></html>'),
        ('<html lang="<?= $lang ?>"><p>a</p></html>', {}, '<html lang="<?= $lang ?>"><p>x</p></html>'),
        ('<html lang="$lang"><p>a</p></html>', {}, '<html lang="$lang"><p>x</p></html>'),
        ('<p lang=de translate=no>b</p><p lang=de>a</p>', {}, "<p lang=de translate=no>b</p><p lang=en>x</p>"),
        ('<doc xml:lang="de" lang="de">a</doc>', {"is_xml": True}, '<doc xml:lang="en" lang="de">x</doc>'),
    ],
)  # fmt: skip
def test_the_language_of_translated_text_is_the_target_language(text, rules, expected):
    assert written(text, source="de", target="en", **rules) == expected
    markup = MarkupText(text, MarkupRules(source="de", target="en", **rules))
    assert markup.write([segment.source for segment in markup.segments]) == text


def test_references_are_spelled_as_in_the_document():
    assert written("<p>&#228; &quot;b&quot;</p>", 'ä "x" é') == "<p>&#228; &quot;x&quot; é</p>"
    assert written("<p>&#228; ä</p>", "ä") == "<p>ä</p>"
    assert written("<p>a > b</p>", "x > ]]>") == "<p>x > ]]&gt;</p>"
    assert written("<p>a &#38; b</p>", "x & <") == "<p>x &#38; &lt;</p>"


@pytest.mark.parametrize("cut", ["</p", "</p  \n", '<img src="x', "<a title='x y"])
@pytest.mark.parametrize("is_xml", [False, True])
def test_a_tag_that_is_cut_off_is_no_text(cut, is_xml):
    assert [s.text for s in MarkupText(f"b <i>a</i> {cut}", MarkupRules(is_xml)).segments] == ["b a"]
    assert [s.text for s in MarkupText("a <b and c", MarkupRules(is_xml)).segments] == ["a <b and c"]


def test_huge_and_padded_numbers_of_references():
    digits = "1" * 5000  # `int` refuses more than 4300
    assert [s.text for s in MarkupText(f"<p>a&#{digits};</p>", MarkupRules()).segments] == ["a\ufffd"]
    assert [s.text for s in MarkupText(f"<p>&#{'0' * 5000}65;</p>", MarkupRules()).segments] == ["A"]
    assert [s.text for s in MarkupText(f"<p>&#{'0' * 5000}65;</p>", MarkupRules(True)).segments] == ["A"]
    written(f"<p title='&#x{'f' * 5000}'>a&#x{'f' * 5000}</p>")


def texts(html: str) -> list[str]:
    return [segment.text for segment in MarkupText(html, MarkupRules()).segments]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<svg><title>a</title><text>b <tspan>c</tspan></text><path/><style>x</style></svg>", ["a", "b c"]),
        ("<p>click <svg><title>a</title><path/></svg> here</p>", ["click  here"]),
        ("<svg translate=no><text>a</text></svg><div class=notranslate><svg><text>b</text></svg></div>c", ["c"]),
        ("<svg><foreignObject><p>a</p></foreignObject></svg>", ["a"]),
        ("<template><p>a</p><template>b</template></template>", ["a", "b"]),
        ("<textarea title=t>\na <b> c</textarea>d", ["t", "a <b> c", "d"]),
        ("<select><optgroup label=g><option value=v>a<option>b</select>", ["g", "a", "b"]),
        ("<button value=v>a</button><input type=submit value=b><input value=v>", ["a", "b"]),
        ("<svg><text>a</text><text>b</text><g><text>c</text></g></svg>", ["a", "b", "c"]),
        ("<pre><svg><text>a</text></svg></pre>", []),
    ],
)
def test_hidden_text_that_readers_see(html, expected):
    assert [" ".join(text.split()) for text in texts(html)] == [" ".join(text.split()) for text in expected]
