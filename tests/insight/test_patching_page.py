"""The view of patching in a browser: the numbers of the data, cells by click and key, phones, languages, axe."""

import pytest

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from allyouneed.insight.patching.patch import patch_sentences
from allyouneed.insight.patching.patching_data import sentences_data
from tests.insight.conftest import Page, random_translator
from tests.insight.test_access import violations

CLEAN, CORRUPTED = "a dog runs in the <b>green", "a very big cat sleeps in the <b>green"


@pytest.fixture(scope="module")
def talker():
    return random_translator(2, 2, 16, tie_embeddings="false")


@pytest.fixture(scope="module")
def path(talker, tmp_path_factory):
    path = tmp_path_factory.mktemp("patching") / "look.html"
    data = explorer_data(talker, CLEAN, [])
    path.write_text(html({**data, "patching": sentences_data(talker, CLEAN, CORRUPTED)}), encoding="utf-8")
    return path


def effect_of(page, cell: str) -> float:
    page.page.click(f'[data-patch="{cell}"]')
    return float(page.text("[data-number=effect]").replace("−", "-").replace("<", ""))


def test_cells_show_their_effect_and_predictions(browser, path, talker):
    expected = patch_sentences(talker, CLEAN, CORRUPTED)
    with Page(browser, path) as page:
        page.page.click("#tab-patching")
        for name, row, column in (("encoder stream", 1, 0), ("cross", 1, 0), ("encoder heads", 0, 1)):
            found = effect_of(page, f"{name}.{row}.{column}")
            assert found == pytest.approx(expected.maps[name].effect[0, row, column], abs=0.011)
            rows = page.page.locator("#patch-cell table").nth(2).locator("tr")
            assert rows.count() == 5
        hatched = page.page.locator(".patch[role=group] .hatched").count()
        assert hatched == sum(partner < 0 for partner in expected.counterparts) * (3 + 2 + 2)
        page.page.click('[data-patch="cross heads.1.0"]')
        strip = page.page.locator("#patch-strip [role=img]").first.get_attribute("aria-label")
        assert float(strip.split(": ")[1].replace("−", "-").replace("<", "")) == pytest.approx(
            expected.maps["cross head positions"].effect[0, 2, 0], abs=0.011
        )
        page.page.focus('[data-patch="encoder stream.0.0"]')
        page.page.keyboard.press("ArrowDown")
        assert page.page.evaluate("document.activeElement.dataset.patch") == "encoder stream.1.0"
        page.page.keyboard.press("Enter")
        assert page.page.get_attribute('[data-patch="encoder stream.1.0"]', "aria-pressed") == "true"
        if len(expected.targets) > 1:
            page.page.click("[data-place='1']")
            assert page.page.get_attribute("[data-place='1']", "aria-pressed") == "true"
            assert effect_of(page, "cross.0.0") == pytest.approx(expected.maps["cross"].effect[1, 0, 0], abs=0.011)
        assert page.problems == []


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "ko-KR", 360)])
def test_no_violations_and_nothing_too_wide(browser, path, scheme, locale, width):
    options = {"color_scheme": scheme, "locale": locale, "viewport": {"width": width, "height": 900}}
    with Page(browser, path, **options) as page:
        page.page.click("#tab-patching")
        page.page.mouse.move(0, 0)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page.page) == []


def test_a_sentence_typed_by_the_reader_is_patched_by_the_server(browser, talker):
    """Requests are answered in the reverse order; the last one asked for is shown, and errors are told."""
    context = browser.new_context(locale="en-GB")
    page, requests = context.new_page(), []
    content = html(explorer_data(talker, CLEAN, []), {"url": "/api/look", "body": {"q": CLEAN, "source": "de"}})
    page.route("http://explorer.test/", lambda route: route.fulfill(body=content, content_type="text/html"))
    page.route("http://explorer.test/api/look/patching", lambda route: requests.append(route))
    page.goto("http://explorer.test")
    page.click("#tab-patching")
    assert page.locator(".patch").count() == 0
    for text in ("a cat runs in the <b>green", CORRUPTED):
        page.fill("#patch-other", text)
        page.click("#patch-ask")
        page.locator("#patch-state", has_text="…").wait_for()
    for route in reversed(requests):
        body = route.request.post_data_json
        route.fulfill(json=sentences_data(talker, body["q"], body["against"]))
    page.wait_for_selector(".patch")
    page.wait_for_timeout(100)
    assert CORRUPTED in page.inner_text("#panel")
    assert page.input_value("#patch-other") == CORRUPTED
    page.click("#patch-ask")
    page.locator("#patch-state", has_text="…").wait_for()
    requests[-1].fulfill(status=400, json={"error": "both sentences have the same tokens"})
    page.locator("#patch-state", has_text="same tokens").wait_for()
    assert page.locator(".patch").count() > 0
    context.close()
