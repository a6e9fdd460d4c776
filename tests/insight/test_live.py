"""A page with a server: combinations of switches, and responses in any order."""

import json

import pytest

from allyouneed.insight.explorer import explorer_data, live_variant
from allyouneed.insight.page import html
from allyouneed.insight.variants.switches import switches_from

ADDRESS = "http://explorer.test"
TEXT, TRANSLATION = "a b c", "c b a"


class Served:
    """A page whose requests wait in `requests` until they are answered."""

    def __init__(self, browser, translator):
        data = explorer_data(translator, TEXT, switches=[], translation=TRANSLATION)
        self.translator, self.requests = translator, []
        self.context = browser.new_context(locale="en-GB")
        self.page = self.context.new_page()
        content = html(data, {"url": "/api/look", "body": {"q": TEXT}})
        self.page.route(f"{ADDRESS}/", lambda route: route.fulfill(body=content, content_type="text/html"))
        self.page.route(f"{ADDRESS}/api/look", lambda route: self.requests.append(route))
        self.page.goto(ADDRESS)
        self.page.click("#tab-switches")

    def request(self, index: int):
        """Wait for a request, which a click sends some time later."""
        for _ in range(3000):
            if len(self.requests) > index:
                break
            self.page.wait_for_timeout(10)
        return self.requests[index]

    def answer(self, index: int) -> None:
        route = self.request(index)
        switches = switches_from(json.loads(route.request.post_data)["switches"], self.translator.model)
        route.fulfill(json=live_variant(self.translator, TEXT, TRANSLATION, switches))

    def is_off(self, name: str) -> bool:
        return self.page.get_attribute(f"[data-switch={name}]", "aria-checked") == "false"


@pytest.fixture
def served(browser, translator):
    served = Served(browser, translator)
    yield served
    served.context.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_clicks_before_an_answer_add_up(served, order):
    page = served.page
    page.click("[data-switch=scale]")
    page.click("[data-switch=positions]")
    assert served.is_off("scale")
    assert "computes" in page.inner_text("#state")
    for index in order:
        served.answer(index)
    page.wait_for_selector("#comparison")
    assert served.is_off("scale")
    assert served.is_off("positions")
    assert json.loads(served.request(1).request.post_data)["switches"]["scale"] is False
    both = live_variant(
        served.translator,
        TEXT,
        TRANSLATION,
        switches_from({"scale": False, "positions": False}, served.translator.model),
    )
    shown = page.inner_text("[data-figure=logp]").replace("−", "-").split("→")
    assert float(shown[1]) == pytest.approx(both["predictions"]["log_p"], abs=0.0051)


def test_failed_request_keeps_the_previous_state(served):
    page = served.page
    page.click("[data-switch=scale]")
    served.request(0).fulfill(status=429, json={"error": "too many requests"})
    page.wait_for_function("document.querySelector('#state').textContent.includes('too many requests')")
    assert not served.is_off("scale")
    page.click("[data-switch=positions]")
    served.answer(1)
    page.wait_for_selector("#comparison")
    assert not served.is_off("scale")
    assert served.is_off("positions")
