"""The explorer on a live server: any combination of switches is computed on demand."""

import pytest
import requests

from allyouneed.insight.attribution.questions import live_attribution
from allyouneed.insight.explorer import live_variant
from allyouneed.insight.patching.patching_data import live_patching
from allyouneed.insight.variants.switches import Switches
from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving
from tests.serving.test_page import type_and_wait

PAIR = {"q": "a b c", "source": "aa", "target": "bb"}


def test_a_combination_of_switches_is_computed_by_the_model(address, translator):
    translation = translator.translate(["a b c"])[0].text
    switches = Switches(scale=False, temperature=2.0, off=frozenset({("encoder", 0, 1)}))
    body = {**PAIR, "translation": translation, "switches": switches.as_json()}
    found = requests.post(f"{address}/api/look", json=body, timeout=300)
    assert found.status_code == 200
    assert found.json()["key"] == switches.key
    assert found.json() == live_variant(translator, "a b c", translation, switches)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"switches": {"scales": False}}, "scales"),
        ({"switches": {"off": [["encoder", 9, 9]]}}, "off"),
        ({"source": "aa", "target": "cc"}, "third language"),
        ({"source": "bb", "target": "bb"}, "same language"),
        ({"q": "  "}, "the sentence is empty"),
    ],
)
def test_invalid_requests_are_rejected(address, change, message):
    found = requests.post(f"{address}/api/look", json={**PAIR, "translation": "a", **change}, timeout=300)
    assert found.status_code == 400
    assert message in found.json()["error"]


def test_a_question_is_answered_by_the_model(address, translator):
    body = {**PAIR, "candidate": ["▁c", "▁b"], "instead_of": ["▁c", "▁a"]}
    found = requests.post(f"{address}/api/look/attribution", json=body, timeout=300)
    assert found.status_code == 200
    answer, wanted = found.json(), live_attribution(translator, "a b c", body["candidate"], body["instead_of"])
    assert answer["values"].pop("ig") == pytest.approx(wanted["values"].pop("ig"), rel=1e-3)
    assert answer["prefix"] == ["<s>", "▁c"]
    assert {answer["candidate"], answer["instead_of"]} == {"▁a", "▁b"}
    assert set(answer) == set(wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidate": ["▁c"], "instead_of": ["▁c"]}, "are equal"),
        ({"candidate": ["<script>"]}, "not in the target vocabulary"),
        ({"candidate": "▁c"}, "candidate"),
        ({"candidate": [1]}, "candidate"),
        ({"candidate": ["▁c"] * 129}, "candidate"),
        ({"instead_of": None}, "instead_of"),
        ({"q": " "}, "the sentence is empty"),
        ({"source": "bb", "target": "bb"}, "same language"),
    ],
)
def test_invalid_questions_are_rejected(address, change, message):
    body = {**PAIR, "candidate": ["▁c"], "instead_of": ["▁a"], **change}
    found = requests.post(f"{address}/api/look/attribution", json=body, timeout=300)
    assert found.status_code == 400
    assert message in found.json()["error"]


def test_the_page_requests_variants_that_it_does_not_contain(page):
    type_and_wait(page, "a b c")
    with page.context.expect_page() as opened:
        page.click("#look button")
    explorer = opened.value
    assert "server" in explorer.inner_text("footer")
    explorer.click("#tab-switches")
    explorer.click("[data-switch=scale]")
    with explorer.expect_response(lambda response: response.url.endswith("/api/look")) as response:
        explorer.click("[data-switch=positions]")
    assert response.value.ok
    explorer.wait_for_selector("[data-switch=positions][aria-checked=false]")
    switches = response.value.request.post_data_json["switches"]
    assert (switches["scale"], switches["positions"], switches["future_mask"]) == (False, False, True)


def test_patching_into_another_sentence_is_computed_by_the_model(address, translator):
    found = requests.post(f"{address}/api/look/patching", json={**PAIR, "against": "a e c"}, timeout=300)
    assert found.status_code == 200
    assert found.json() == live_patching(translator, "a b c", "a e c")


def test_both_sentences_of_patching_count_towards_the_quota(tmp_path, registry):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", characters=9)
    with serving(registry, ServerSettings(keys=file, threads=1)) as address:
        body = {**PAIR, "against": "a e c", "api_key": secret}
        found = requests.post(f"{address}/api/look/patching", json=body, timeout=300)
    assert found.status_code == 456


@pytest.mark.parametrize(
    ("against", "message"),
    [("", "empty"), ("a b c", "same tokens"), ("a " * 70, "limit of patching"), ("<" * 30_000, "")],
)
def test_patching_requests_are_bounded(address, against, message):
    found = requests.post(f"{address}/api/look/patching", json={**PAIR, "against": against}, timeout=300)
    assert found.status_code in (400, 413)
    assert message in found.json()["error"]
