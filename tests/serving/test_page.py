"""The web page, in a browser."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")


def type_and_wait(page: playwright.Page, text: str) -> None:
    with page.expect_response(lambda response: response.url.endswith("/api/translate") and response.ok):
        page.locator("#text").press_sequentially(text)
    playwright.expect(page.locator("#translation")).to_have_attribute("aria-busy", "false")


def test_the_translation_appears_while_typing(page, post):
    type_and_wait(page, "c d e f")
    body = {"q": "c d e f", "source": "aa", "target": "bb", "words": True, "beam_size": 4, "num_hypotheses": 4}
    [expected] = post("/api/translate", **body).json()["translations"]
    playwright.expect(page.locator("#translation")).to_have_text(expected["text"])
    words = page.locator("#translation .word")
    assert words.count() == len(expected["sentences"][0]["words"]) > 0
    assert words.first.get_attribute("title").startswith("Probability ")
    assert page.locator("#alternatives li").all_inner_texts() == expected["alternatives"]


def test_a_word_and_its_source_are_highlighted_by_pointer_and_keyboard(page):
    type_and_wait(page, "c d e f")
    page.locator("#translation .word").first.hover()
    assert page.locator("#backdrop mark").count() == 1
    page.locator("#text").focus()
    page.locator("#translation .word").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.word')[1]")
    assert page.locator("#backdrop mark").count() == 1


def test_all_controls_are_reached_by_tab(page):
    type_and_wait(page, "c d e f")
    reached = set()
    page.locator("#locale").focus()
    for _ in range(20):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.classList[0]"))
        page.keyboard.press("Tab")
    assert {"locale", "theme", "source", "swap", "target", "text", "clear", "word", "shade", "copy", "file"} <= reached


def test_copy_swap_and_clear(page):
    type_and_wait(page, "c d e f")
    translation = page.locator("#translation").inner_text()
    page.locator("#copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == translation
    page.locator("#clear").click()
    assert page.locator("#text").input_value() == page.locator("#translation").inner_text() == ""


def test_language_and_theme_are_remembered(page):
    page.locator("#locale").click()
    playwright.expect(page.locator("#files .drop")).to_contain_text("파일을 끌어다")
    assert page.evaluate("document.documentElement.lang") == "ko"
    before = page.evaluate("document.documentElement.dataset.theme")
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("document.documentElement.dataset.theme") != before


def test_a_file_is_translated(page, tmp_path):
    (tmp_path / "notes.txt").write_text("a b c\nd e\n")
    page.set_input_files("#file", tmp_path / "notes.txt")
    link = page.locator("#files a")
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "notes_bb.txt"
    assert len(download.value.path().read_text().splitlines()) == 2
    page.set_input_files("#file", {"name": "x.exe", "mimeType": "application/x", "buffer": b"MZ"})
    playwright.expect(page.locator("#files .bad")).to_contain_text("not supported")


def test_history_stays_in_the_browser(page):
    type_and_wait(page, "c d e f")
    playwright.expect(page.locator("#history li")).to_have_count(1, timeout=5000)
    page.reload()
    page.locator("#history li > button").first.click()
    playwright.expect(page.locator("#text")).to_have_value("c d e f")
    page.locator("#clear-history").click()
    playwright.expect(page.locator("#history")).to_be_hidden()


def test_a_phone_does_not_scroll_horizontally(browser, address):
    context = browser.new_context(viewport={"width": 360, "height": 740}, locale="ko-KR")
    page = context.new_page()
    page.goto(address)
    playwright.expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_the_api_is_documented(page, address):
    page.goto(f"{address}/docs")
    playwright.expect(page.locator("#api h3", has_text="/v2/translate")).to_be_visible()
