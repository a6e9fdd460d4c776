"""The page shows in Korean what the server reports in English."""

import re

import pytest

from allyouneed.documents.formats.office.worksheets import SHEET_NAMES, kept_notes
from allyouneed.documents.segment_translation import SegmentTranslation, exceeds
from allyouneed.documents.segments import Segment
from allyouneed.serving.pipeline.text_pipeline import _UNCHANGED
from allyouneed.translation.repetition import REPETITIVE, SEARCHED_AGAIN

playwright = pytest.importorskip("playwright.sync_api")

MESSAGES = [
    SEARCHED_AGAIN,
    REPETITIVE,
    "There is nothing to translate, so “{a}” is missing.",
    "The position of “%s\n” in the translation is uncertain.",
    "The translation contains “$1”, which the source lacks.",
    _UNCHANGED.format("$& and\n“more”"),
    "“<b>” is missing in the translation, because of its prefix.",
    exceeds(Segment(("a",), "", longest=3), SegmentTranslation(("abcd",))),
    "the encoding seems to be cp1252; if letters are wrong, convert the file to UTF-8 first",
    "line 1,234 is kept as it is",
    "line 7: a tag does not end; the rest of the document is kept as it is",
    "“0 --> 1” is no time, and is kept as it is",
    "1,000 values that are identifiers, paths or addresses are not translated.",
    "Translated columns: en, note. Choose others with --columns.",
    "No column is translated. Choose others with --columns.",
    "The source language of the file is fr, and the model translates en.",
    "3 units have no text in the source language.",
    "comments are not translated (2)",
    "embedded documents, such as the tables of charts, are not translated (1)",
    "the digital signature does not hold for the translation",
    SHEET_NAMES,
    *kept_notes(["a", "b\nc"]),
    *kept_notes(map(str, range(1007))),
    *(
        f"the text is written as {kind}; pictures, layout, rotated text, page numbers and repeated headers are not kept"
        for kind in ("an HTML page", "a Word document")
    ),
]
POSITIONS = {
    "line 1,234": "1,234번째 줄",
    "lines 3 to 1,005": "3~1,005번째 줄",
    "line 3, column 2": "3번째 줄, 2열",
    "line 3, image": "3번째 줄, 그림",
    "line 3, title": "3번째 줄, 제목",
    "line 3, alt": "3번째 줄, alt",
    "line 1,234, title": "1,234번째 줄, 제목",
    "line 3 (unit greeting)": "3번째 줄 (단위 greeting)",
    "line 3 (key)": "3번째 줄 (key)",
    "page 4": "4쪽",
    "slide 2, paragraph 5": "슬라이드 2, 5번째 단락",
    "paragraph 5": "5번째 단락",
    "sheet Prices, cell AB12": "시트 Prices, 셀 AB12",
    "sheet Prices, oddHeader": "시트 Prices, oddHeader",
    "OEBPS/a.xhtml, line 3": "OEBPS/a.xhtml, 3번째 줄",
}
ITEM = """async ([text, where]) => {
    const { reportItem } = await import("/static/reports.js");
    const { isKorean, switchLocale } = await import("/static/messages.js");
    if (!isKorean()) switchLocale();
    const { lang, textContent } = reportItem(text, where);
    return [lang, textContent];
}"""


def quoted(text: str) -> list[str]:
    return re.findall(r"“(.*)”", text, re.DOTALL)


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,]*", text)


def test_all_messages_have_a_korean_text(page):
    for message in MESSAGES:
        lang, text = page.evaluate(ITEM, [message, ""])
        assert (lang, quoted(text)) == ("ko", quoted(message)), message
        assert re.search("[가-힣]", text)
        assert numbers(text) == numbers(message)


def test_positions_are_in_korean(page):
    for where, expected in POSITIONS.items():
        assert page.evaluate(ITEM, [REPETITIVE, where])[1].startswith(f"{expected}: 번역문에서")


def test_an_unknown_message_stays_in_english(page):
    assert page.evaluate(ITEM, ["something new", ""]) == ["en", "something new"]
