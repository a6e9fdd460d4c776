"""The view "Why this word?" in a real browser, from disk and with a server."""

import json

import pytest

from allyouneed.insight.attribution.questions import live_attribution
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from tests.insight.conftest import Page

ADDRESS = "http://why.test"
TEXT = "a b c d"


@pytest.fixture(scope="module")
def data(translator):
    return explorer_data(translator, TEXT, switches=[])


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("why") / "look.html"
    path.write_text(html(data), encoding="utf-8")
    return path


def values(page, method):
    page.click(f"[data-method={method}]")
    shown = page.eval_on_selector_all("#why-answer .valued small", "found => found.map(x => x.textContent)")
    return [float(x.replace("−", "-").replace("%", "")) for x in shown]


@pytest.mark.parametrize("width", [1280, 360])
def test_a_question_from_disk(browser, path, data, width):
    with Page(browser, path, viewport={"width": width, "height": 900}) as opened:
        page = opened.page
        page.click("#tab-attribution")
        questions = data["attribution"]["questions"]
        asked = next(each for each in questions if each["position"] == 1)
        page.click("[data-why='1']")
        assert values(page, "ig") == pytest.approx(asked["values"]["ig"], abs=0.0051)
        assert values(page, "alti") == pytest.approx([100 * x for x in asked["values"]["alti"]], abs=0.51)
        rows = page.eval_on_selector_all("#why-table tbody tr", "found => found.length")
        assert rows == len(asked["values"]["ig"]) + 2
        drops = page.eval_on_selector_all("#why-drops td:nth-child(2)", "found => found.map(x => x.textContent)")
        shown = [float(x.replace("−", "-").replace("<", "")) for x in drops]
        assert shown == pytest.approx(list(asked["deletion"]["drops"].values()), abs=0.0101)
        assert page.inner_text("#why-all")
        assert page.query_selector(".curves path")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.problems == []


def test_two_hypotheses_are_compared_at_their_fork(browser, path, data):
    with Page(browser, path) as opened:
        page = opened.page
        page.click("#tab-search")
        boxes = page.eval_on_selector_all("#hypotheses input", "found => found.map(x => '#' + x.id)")
        for box in boxes[:2]:
            page.focus(box)
            page.keyboard.press("Space")
        page.click("#ask-why")
        assert page.get_attribute("#tab-attribution", "aria-selected") == "true"
        fork = data["attribution"]["questions"][0]
        assert fork["candidate"].strip("▁") in page.inner_text("#why-answer .answer")
        page.click("#tab-search")
        for node in page.query_selector_all("[data-node]")[:2]:
            node.dispatch_event("click")
        assert len(page.query_selector_all(".tree .picked")) == 2
        assert opened.problems == []


def test_a_server_answers_what_the_page_does_not_contain(browser, translator, data):
    context = browser.new_context(locale="ko-KR")
    page, bodies = context.new_page(), []

    def answer(route):
        bodies.append(json.loads(route.request.post_data))
        if len(bodies) == 2:
            return route.fulfill(status=429, json={"error": "too many requests"})
        body = bodies[-1]
        return route.fulfill(json=live_attribution(translator, body["q"], body["candidate"], body["instead_of"]))

    without = {**data, "attribution": {**data["attribution"], "questions": []}}
    content = html(without, {"url": "/api/look", "body": {"q": TEXT, "source": "aa", "target": "bb"}})
    page.route(f"{ADDRESS}/", lambda route: route.fulfill(body=content, content_type="text/html"))
    page.route(f"{ADDRESS}/api/look/attribution", answer)
    page.goto(ADDRESS)
    page.click("#tab-attribution")
    page.wait_for_selector("#why-answer")
    options = page.eval_on_selector_all("#why-other option:not([disabled])", "found => found.map(x => x.value)")
    page.select_option("#why-other", options[-1])
    page.locator("#why-state", has_text="too many requests").wait_for()
    page.select_option("#why-other", options[0])
    page.wait_for_selector("#why-answer")
    assert bodies[1]["instead_of"][-1] == options[-1]
    assert set(bodies[0]) == {"q", "source", "target", "candidate", "instead_of"}
    context.close()
