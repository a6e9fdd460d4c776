import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allyouneed.serving.markup import MarkupFormat, parse_markup

HTML = MarkupFormat()
WORD = re.compile(r"[^ ]+")


def identity(block):
    """A translation with the same words in the same order."""
    return block.text, [(match.span(), match.span()) for match in WORD.finditer(block.text)]


def reverse(block):
    """A translation with the same words in reverse order."""
    words = list(WORD.finditer(block.text))[::-1]
    text, links = "", []
    for word in words:
        text += " " if text else ""
        links.append(((len(text), len(text) + len(word[0])), word.span()))
        text += word[0]
    return text, links


def translate_page(html: str, translate, form: MarkupFormat = HTML) -> str:
    page = parse_markup(html, form)
    return page.rebuild([translate(block) for block in page.blocks])


@pytest.mark.parametrize(
    "html",
    [
        "<p>One <b>two</b> three<br>and <a href='x?a=1&amp;b'>four</a> </p>\n<ul>\n <li>Five</li></ul>",
        "<a><div>x</div></a> <i>open",
        "</b> t <b>",
        "<script>if (a<b && c) {}</script><style>p > b {}</style>",
        "<!DOCTYPE html><!-- note --><p translate=no>As <b>it</b> is</p>",
        "<pre>a\n  b</pre>",
        "<p>x<!-- c --> y <img src=1> z, <img src=2></p>",
        "plain",
        "",
    ],
)
def test_an_unchanged_translation_reproduces_the_page(html):
    assert translate_page(html, identity) == html


def test_inline_tags_follow_their_words():
    assert translate_page("<p>red <b>big</b> house</p>", reverse) == "<p>house <b>big</b> red</p>"
    assert translate_page("<i>a <b>b</b></i> c", reverse) == "c <i><b>b</b> a</i>"
    links = [((0, 1), (2, 3)), ((2, 3), (6, 7)), ((4, 5), (4, 5))]
    html = translate_page('a <b id="x">b c</b> d', lambda block: ("b d c", links))
    assert html == '<b id="x">b</b> d <b>c</b>'  # an id occurs once


def test_a_tag_without_aligned_words_gets_a_word():
    html = translate_page("a <a href=x>b</a> c", lambda block: ("A C", [((0, 1), (0, 1)), ((2, 3), (4, 5))]))
    assert html.count("<a href=x>") == html.count("</a>") == 1


def test_text_is_escaped_and_xml_keeps_its_case():
    assert translate_page("a &lt; b &amp; c", identity) == "a &lt; b &amp; c"
    document = "<Doc>one <Keep>Two</Keep> three</Doc>"
    assert translate_page(document, identity, MarkupFormat("xml", ignored=frozenset({"keep"}))) == document


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.starts, self.ends = [], []

    def handle_starttag(self, tag, attributes):
        self.starts.append(tag)

    def handle_endtag(self, tag):
        self.ends.append(tag)


def tags(html: str) -> tuple[list[str], list[str]]:
    found = Tags()
    found.feed(html)
    return sorted(set(found.starts)), sorted(set(found.ends))


@given(
    st.lists(st.sampled_from(["<p>", "</p>", "<b>", "</b>", "<i>", "</i>", "<br>", "<img>", " ", "one", "two ", "\n"]))
)
@example(["<b>", "<p>", "</b>", "one", "</p>"])
def test_no_tag_is_lost_in_any_order(parts):
    html = "".join(parts)
    assert tags(translate_page(html, identity)) == tags(html)
    assert tags(translate_page(html, reverse)) == tags(html)


@given(st.text(alphabet="<>/&;!-[]ab= \"'\n"))
def test_malformed_markup_is_accepted(html):
    translate_page(html, identity)
