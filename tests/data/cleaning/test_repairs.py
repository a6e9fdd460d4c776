import html
import unicodedata

import pytest
from hypothesis import given, strategies

from allyouneed.data.cleaning.block import CleaningRules, clean_block
from allyouneed.data.cleaning.encoding import repair_encoding
from allyouneed.data.cleaning.repairs import has_controls, remove_controls, unescape_entities
from allyouneed.data.files.formats import RawPair

HONEST = [
    "IRMÃ… não", "ÉTÉ À LA MER", "Ça va ? « Très bien »", "naïve café", "Größe: 5 µm ± 2", "Ångström",
    "§ 5 Abs. 3 – „Zitat“",
    "می\u200cخواهم", "क्\u200dष", "នេះ\u200bជា", "👨\u200d👩\u200d👧", "soft\u00adhyphen", "a\u00a0b",
    "TÜRKÇE İÇİN",
    "안녕하세요", "你好，世界", "ﬁne", "½ cup", "x² + y²", "Ã",
]  # fmt: skip


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_is_not_repaired(text):
    assert repair_encoding(text) == text
    assert remove_controls(text) == text
    assert unescape_entities(text) == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["schön und größer", "déjà vu à côté", "el año próximo será mejor"])
def test_utf8_read_in_a_western_encoding_is_repaired(text, encoding):
    assert repair_encoding(text.encode().decode(encoding, "ignore" if encoding == "cp1252" else "strict")) == text


def test_entities_are_replaced_also_if_escaped_twice():
    assert unescape_entities("Tom &amp; Jerry&#39;s &quot;x&quot; &lt;b&gt;") == 'Tom & Jerry\'s "x" <b>'
    assert unescape_entities("Q&amp;amp;A") == "Q&A"
    assert unescape_entities("AT&T, R&D; &unknown; a&b;") == "AT&T, R&D; &unknown; a&b;"
    assert unescape_entities("&#0; &#xD800;") == html.unescape("&#0; &#xD800;")


def test_control_characters_are_removed_and_breaks_become_spaces():
    assert remove_controls("a\x00b\x07c\x9dd\ufeffe\ufffef\ud800g\x7f") == "abcdefg"
    assert remove_controls("one\u2028two\nthree\tfour\x85five") == "one two three four five"


@given(strategies.text(alphabet=strategies.characters()))
def test_repairs_leave_no_control_characters(text):
    repaired = remove_controls(text)
    assert not has_controls(repaired)
    assert remove_controls(repaired) == repaired
    assert all(unicodedata.category(character) not in ("Cc", "Cs") for character in repaired)
    repair_encoding(repaired)  # any text passes


def test_a_block_reports_repairs_with_the_checks_that_made_them():
    pairs = [RawPair(1, "ein Hund", "a dog"), RawPair(2, "schÃ¶n &amp; gut\x07", "nice & good"), RawPair(3, "", "")]
    block = clean_block(pairs, CleaningRules(("encoding", "entities", "control")))
    assert list(block.repairs) == [1]
    assert block.repairs[1].checks == ("encoding", "entities", "control")
    assert block.pairs[1] == RawPair(2, "schön & gut", "nice & good")
    assert block.reasons == [None] * 3
    assert clean_block(pairs, CleaningRules()).pairs == pairs
