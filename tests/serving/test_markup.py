import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allyouneed.serving.markup import Form, parse

HTML = Form()
WORD = re.compile(r"[^ ]+")


def same(block):
    """A translation that says the same in the same order."""
    return block.text, [(match.span(), match.span()) for match in WORD.finditer(block.text)]


def backwards(block):
    """One that says the same words in the opposite order."""
    words = list(WORD.finditer(block.text))[::-1]
    text, homes = "", []
    for word in words:
        text += " " if text else ""
        homes.append(((len(text), len(text) + len(word[0])), word.span()))
        text += word[0]
    return text, homes


def through(html: str, translate, form: Form = HTML) -> str:
    page = parse(html, form)
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
def test_an_unchanged_translation_gives_the_page_back(html):
    assert through(html, same) == html


def test_inline_tags_follow_their_words():
    assert through("<p>red <b>big</b> house</p>", backwards) == "<p>house <b>big</b> red</p>"
    assert through("<i>a <b>b</b></i> c", backwards) == "c <i><b>b</b> a</i>"
    homes = [((0, 1), (2, 3)), ((2, 3), (6, 7)), ((4, 5), (4, 5))]
    html = through('a <b id="x">b c</b> d', lambda block: ("b d c", homes))
    assert html == '<b id="x">b</b> d <b>c</b>'  # an id is given once


def test_a_tag_whose_words_are_lost_keeps_a_word():
    html = through("a <a href=x>b</a> c", lambda block: ("A C", [((0, 1), (0, 1)), ((2, 3), (4, 5))]))
    assert html.count("<a href=x>") == html.count("</a>") == 1


def test_text_is_escaped_and_xml_keeps_its_case():
    assert through("a &lt; b &amp; c", same) == "a &lt; b &amp; c"
    document = "<Doc>one <Keep>Two</Keep> three</Doc>"
    assert through(document, same, Form("xml", ignored=frozenset({"keep"}))) == document


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
def test_no_tag_is_lost_whatever_the_order(parts):
    html = "".join(parts)
    assert tags(through(html, same)) == tags(html)
    assert tags(through(html, backwards)) == tags(html)


@given(st.text(alphabet="<>/&;!-[]ab= \"'\n"))
def test_broken_markup_is_no_error(html):
    through(html, same)
