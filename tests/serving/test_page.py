"""The web page, in a browser."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import requests

from allyouneed import serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
STATIC = Path(serving.__file__).parent / "static"


def type_and_wait(page: playwright.Page, text: str) -> None:
    """Type `text` letter by letter; on a slow machine, the beginning of it is translated first, and then all of it."""

    def answers_all(response: playwright.Response) -> bool:
        is_answer = response.url.endswith("/api/translate") and response.ok
        return is_answer and response.request.post_data_json["q"].endswith(text)

    with page.expect_response(answers_all):
        page.locator("#text").press_sequentially(text)
    playwright.expect(page.locator("#translation")).to_have_attribute("aria-busy", "false")


def test_the_translation_appears_while_typing(page, post):
    type_and_wait(page, "c d e f")
    body = {"q": "c d e f", "source": "aa", "target": "bb", "words": True, "beam_size": 4, "num_hypotheses": 4}
    [expected] = post("/api/translate", **body).json()["translations"]
    playwright.expect(page.locator("#translation")).to_have_text(expected["text"])
    words = page.locator("#translation .word")
    playwright.expect(page.locator("#announcement")).to_have_text(expected["text"])  # for screen readers
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
    assert {
        "locale",
        "theme",
        "source",
        "swap",
        "target",
        "glossary",
        "new-glossary",
        "text",
        "clear",
        "word",
        "shade",
        "copy",
        "file",
    } <= reached


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


def test_history_stays_in_the_browser(page):
    type_and_wait(page, "c d e f")
    playwright.expect(page.locator("#history li")).to_have_count(1, timeout=5000)
    page.reload()
    page.locator("#history li > button").first.click()
    playwright.expect(page.locator("#text")).to_have_value("c d e f")
    page.locator("#clear-history").click()
    playwright.expect(page.locator("#history")).to_be_hidden()


SENTENCES = "c d e f\na b c"


def open_words(page: playwright.Page, index: int) -> list[dict]:
    """Click a word of the translation, and return the alternatives that the server sent."""
    with page.expect_response(lambda response: response.url.endswith("/api/alternatives")) as response:
        page.locator("#translation .word").nth(index).click()
    playwright.expect(page.locator("#words")).to_be_visible()
    return response.value.json()["alternatives"]


def test_a_click_on_a_word_offers_other_words(page):
    type_and_wait(page, SENTENCES)
    words = page.locator("#translation .word").all_inner_texts()
    found = open_words(page, 1)
    items = page.locator("#words li")
    playwright.expect(items).to_have_count(len(found))
    assert items.locator("b").all_inner_texts() == [each["word"] or "end of sentence" for each in found]
    values = [math.exp(each["log_probability"]) for each in found]
    assert values == sorted(values, reverse=True)
    assert sum(values) <= 1.001
    percents = ["<1%" if value < 0.01 else f"{math.floor(100 * value + 0.5)}%" for value in values]
    assert items.locator(".percent").all_inner_texts() == percents
    assert items.locator("[aria-current=true] b").all_inner_texts() == [words[1]]


def test_a_chosen_word_changes_the_rest_of_its_sentence_only(page, post):
    type_and_wait(page, SENTENCES)
    [before] = post("/api/translate", q=SENTENCES, source="aa", target="bb", words=True, beam_size=4).json()[
        "translations"
    ]
    first, second = before["sentences"]
    number = len(first["words"]) + 1  # the second word of the second sentence
    found = open_words(page, number)
    chosen = next(each for each in found if each["word"] and each["text"] != before["text"][slice(*second["target"])])
    page.locator("#words button").nth(found.index(chosen)).click()
    expected = before["text"][: second["target"][0]] + chosen["text"]
    playwright.expect(page.locator("#translation")).to_have_text(expected)
    playwright.expect(page.locator("#words")).to_be_hidden()
    assert page.locator("#translation .word").all_inner_texts() == expected.split()
    assert page.evaluate("document.activeElement.textContent") == chosen["word"]
    page.locator("#translation .word").nth(number).hover()  # its source is in the second sentence
    left = page.locator("#backdrop mark").first.evaluate("mark => mark.previousSibling.textContent")
    assert left.startswith("c d e f\n")


def test_words_are_chosen_by_keyboard(page):
    type_and_wait(page, "c d e f")
    before = page.locator("#translation").inner_text()
    page.locator("#translation .word").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#words button").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    playwright.expect(page.locator("#words button").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#words")).to_be_hidden()
    playwright.expect(page.locator("#translation .word").first).to_be_focused()
    page.keyboard.press(" ")
    other = page.locator("#words li:not(:has([aria-current=true])) button").first
    other.wait_for()
    other.press("Enter")
    playwright.expect(page.locator("#translation")).not_to_have_text(before)


def test_alternatives_of_a_word_stay_readable_when_the_request_fails(page):
    type_and_wait(page, "c d e f")
    page.route("**/api/alternatives", lambda route: route.fulfill(status=503, json={"error": "the queue is full"}))
    page.locator("#translation .word").first.click()
    playwright.expect(page.locator("#words p")).to_have_text("The server is busy. Please try again shortly.")


def answer(**changes) -> dict:
    return {"text": "x", "alternatives": [], "detected": None, "sentences": [], "problems": [], **changes}


def answering(page: playwright.Page, status: int = 200, **changes) -> None:
    """Let the server answer the next translations with these fields."""
    body = {"translations": [answer(**changes)]} if status == 200 else changes
    page.route("**/api/translate", lambda route: route.fulfill(status=status, json=body))


@pytest.mark.parametrize(
    ("detected", "expected"),
    [
        ({"language": "aa", "confidence": 98.4, "certain": True}, "Detected: Qafar (98% confidence)"),
        ({"language": "aa", "confidence": 41.0, "certain": False}, "Possibly Qafar (41% confidence)."),
        ({"language": "bb", "confidence": 90.0, "certain": True}, "The text is already in"),
        ({"language": "aa", "confidence": 0.0, "certain": False}, "The language cannot be detected."),
    ],
)
def test_the_detected_language_is_shown_with_its_confidence(page, detected, expected):
    uncertain = "The source language is uncertain: Afar with confidence 41."
    answering(page, detected=detected, problems=[uncertain])
    page.select_option("#source", "auto")
    page.select_option("#target", "bb")
    page.locator("#text").fill("a")
    playwright.expect(page.locator("#detection")).to_contain_text(expected)
    playwright.expect(page.locator("#problems")).to_be_hidden()  # it is said once
    page.locator("#source").select_option("aa")
    answering(page)
    page.locator("#text").fill("b")
    playwright.expect(page.locator("#detection")).to_be_hidden()


def test_a_language_that_is_not_served_is_named(page):
    answering(page, 400, error="Italian", detected={"language": "it", "confidence": 97.2, "certain": True})
    page.select_option("#source", "auto")
    page.locator("#text").fill("Il gatto dorme.")
    expected = "This looks like Italian (97% confidence), which this server does not translate."
    playwright.expect(page.locator("#detection")).to_have_text(expected)
    playwright.expect(page.locator("#notice")).to_be_hidden()
    page.locator("#locale").click()
    playwright.expect(page.locator("#detection")).to_contain_text("이탈리아어로 보입니다(신뢰도 97%)")


def test_problems_are_listed(page):
    problems = ["The translation repeats itself.", "“<b>” is unchanged in the translation."]
    answering(page, problems=problems)
    page.locator("#text").fill("a")
    playwright.expect(page.locator("#problems li")).to_have_text(problems)
    page.locator("#locale").click()
    korean = ["번역문에서 같은 말이 되풀이됩니다.", "원문 그대로입니다: “<b>”"]
    playwright.expect(page.locator("#problems li")).to_have_text(korean)
    page.locator("#clear").click()
    playwright.expect(page.locator("#problems")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "the server's reason"),
        (429, "Too many requests. Please wait a moment."),
        (456, "This month's quota of the API key is used up."),
        (500, "The server had an internal error."),
        (413, "The request was rejected (HTTP 413)."),
        (502, "The server does not respond."),
        (503, "The server is busy. Please try again shortly."),
    ],
)
def test_errors_are_explained(page, status, expected):
    answering(page, status, error="" if status == 413 else "the server's reason")  # 413: a proxy's answer
    page.locator("#text").fill("a")
    playwright.expect(page.locator("#notice")).to_have_text(expected)
    page.unroute("**/api/translate")
    type_and_wait(page, "b")
    playwright.expect(page.locator("#notice")).to_be_hidden()


def test_a_request_that_a_busy_server_rejects_is_repeated(page):
    answers = iter([503, 200])

    def respond(route: playwright.Route) -> None:
        status = next(answers)
        body = {"translations": [answer(text="done")]} if status == 200 else {"error": "busy"}
        route.fulfill(status=status, json=body, headers={"Retry-After": "1"})

    page.route("**/api/translate", respond)
    page.locator("#text").fill("a")
    playwright.expect(page.locator("#translation")).to_have_text("done")
    playwright.expect(page.locator("#notice")).to_be_hidden()


def test_a_server_that_restarts_is_asked_again(page):
    page.route("**/api/translate", lambda route: route.abort("connectionrefused"))
    page.locator("#text").fill("c d e f")
    playwright.expect(page.locator("#notice")).to_have_text("The server does not respond.")
    page.unroute("**/api/translate")
    playwright.expect(page.locator("#translation .word").first).to_be_visible(timeout=10_000)
    playwright.expect(page.locator("#notice")).to_be_hidden()


def test_a_page_that_is_opened_during_a_restart_begins_when_the_server_answers(page):
    page.route("**/api/languages", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
    page.reload()
    playwright.expect(page.locator("#notice")).to_have_text("The server does not respond.")
    page.locator("#text").fill("c d e f")
    page.unroute("**/api/languages")
    playwright.expect(page.locator("#translation .word").first).to_be_visible(timeout=10_000)
    playwright.expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    "script",
    [
        "localStorage.history = '{'; localStorage.locale = 'xx'; sessionStorage.documents = '3'",
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })",
    ],
)
def test_the_page_works_with_damaged_or_blocked_storage(page, script):
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.add_init_script(script)
    page.reload()
    type_and_wait(page, "c d e f")
    playwright.expect(page.locator("#translation .word").first).to_be_visible()
    playwright.expect(page.locator("#history li")).to_have_count(1, timeout=5000)
    assert errors == []


def test_copying_works_without_tls(page):
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.reload()
    type_and_wait(page, "c d e f")
    translation = page.locator("#translation").inner_text()
    page.locator("#copy").click()
    playwright.expect(page.locator("#copy")).to_have_text("Copied")
    page.locator("#clear").click()
    page.locator("#text").press("Control+v")
    playwright.expect(page.locator("#text")).to_have_value(translation)


def test_a_text_beyond_the_limit_is_not_sent(page):
    page.locator("#text").fill("a" * 20_001)
    playwright.expect(page.locator("#notice")).to_contain_text("at most 20,000 characters")
    playwright.expect(page.locator("#count")).to_have_class("bad")


def test_every_message_is_in_both_languages_and_used(page):
    """Of the two languages, keys and parameters are the same; Korean has Hangul; the page uses every key."""
    languages = page.evaluate(
        """async () => {
            const { MESSAGES } = await import("/static/messages.js");
            const describe = ([name, text]) => [name, typeof text === "function" ? text.length : -1, String(text)];
            const { en, ko } = MESSAGES;
            return { en: Object.entries(en).map(describe), ko: Object.entries(ko).map(describe) };
        }"""
    )
    english, korean = ({name: parameters for name, parameters, _ in languages[code]} for code in ("en", "ko"))
    assert english == korean
    technical = {"count", "wordLabel", "fileAction"}
    assert [name for name, _, text in languages["ko"] if not re.search("[가-힣]", text) and name not in technical] == []
    sources = "".join(path.read_text() for path in STATIC.iterdir() if path.suffix in (".js", ".html"))
    sources = sources.replace((STATIC / "messages.js").read_text().partition("let locale")[0], "")
    assert [name for name in english if not re.search(rf"\b{name}\b", sources)] == []
    used = set(re.findall(r"""message\("(\w+)\"|data-i18n(?:-\w+)?="(\w+)\"""", sources))
    assert {name for pair in used for name in pair if name} <= english.keys()


def test_a_phone_does_not_scroll_horizontally(browser, address):
    context = browser.new_context(viewport={"width": 360, "height": 740}, locale="ko-KR")
    page = context.new_page()
    page.goto(address)
    playwright.expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.select_option("#source", "aa")
    type_and_wait(page, "c d e f")
    open_words(page, 0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.locator("#words").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.keyboard.press("Escape")
    page.locator("#new-glossary").click()
    assert page.locator("#glossary-editor form").evaluate("form => form.scrollWidth <= form.clientWidth")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser, address, scheme):
    context = browser.new_context(locale="en-US", color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.select_option("#source", "aa")
    type_and_wait(page, "c d e f")
    assert violations(page) == []
    open_words(page, 0)
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("#new-glossary").click()
    assert violations(page) == []
    context.close()


def violations(page: playwright.Page) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


def test_the_content_security_policy_is_strict(address):
    policy = requests.get(address, timeout=60).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "data:" not in policy


def test_the_api_is_documented(page, address):
    page.goto(f"{address}/docs")
    playwright.expect(page.locator("#api h3", has_text="/v2/translate")).to_be_visible()
