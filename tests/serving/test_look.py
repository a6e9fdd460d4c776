"""The explorer on a live server: every combination of switches is computed when it is asked for."""

import pytest
import requests

from allyouneed.insight.explorer import live_variant
from allyouneed.insight.switches import Switches
from tests.serving.test_page import type_and_wait

PAIR = {"q": "a b c", "source": "aa", "target": "bb"}


def test_any_combination_is_what_the_model_computes(address, translator):
    translation = translator.translate(["a b c"])[0].text
    switches = Switches(scale=False, temperature=2.0, off=frozenset({("encoder", 0, 1)}))
    asked = {**PAIR, "translation": translation, "switches": switches.as_json()}
    found = requests.post(f"{address}/api/look", json=asked, timeout=20)
    assert found.status_code == 200
    assert found.json()["key"] == switches.key
    assert found.json() == live_variant(translator, "a b c", translation, switches)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"switches": {"scales": False}}, "scales"),
        ({"switches": {"off": [["encoder", 9, 9]]}}, "off"),
        ({"source": "aa", "target": "cc"}, "third language"),
        ({"source": "bb", "target": "bb"}, "same language"),
        ({"q": "  "}, "nothing to look at"),
    ],
)
def test_mistakes(address, change, said):
    found = requests.post(f"{address}/api/look", json={**PAIR, "translation": "a", **change}, timeout=20)
    assert found.status_code == 400
    assert said in found.json()["error"]


def test_the_page_asks_for_what_it_does_not_carry(page):
    type_and_wait(page, "a b c")
    with page.context.expect_page() as opened:
        page.click("#look button")
    explorer = opened.value
    assert "server" in explorer.inner_text("footer")
    explorer.click("#tab-switches")
    explorer.click("[data-switch=scale]")
    with explorer.expect_response(lambda response: response.url.endswith("/api/look")) as answered:
        explorer.click("[data-switch=positions]")
    assert answered.value.ok
    explorer.wait_for_selector("[data-switch=positions][aria-checked=false]")
    asked = answered.value.request.post_data_json["switches"]
    assert (asked["scale"], asked["positions"], asked["future_mask"]) == (False, False, True)
