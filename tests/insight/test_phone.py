"""Pages of pre-norm models, as most recipes train them, on a phone and in both languages."""

import json
import re

import pytest

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html, static_text
from tests.insight.conftest import Page, random_translator


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page whose translation is one long word without a place to break."""
    translator = random_translator(2, 4, 64, norm="pre")
    data = explorer_data(translator, "a dog runs", translation="dog" * 25)
    path = tmp_path_factory.mktemp("page") / "look.html"
    path.write_text(html(data), encoding="utf-8")
    return path


@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
def test_every_tab_fits_a_phone(browser, path, locale):
    with Page(browser, path, viewport={"width": 360, "height": 740}, locale=locale) as page:
        for tab in page.page.locator("[role=tab]").evaluate_all("tabs => tabs.map((tab) => tab.id)"):
            page.page.click(f"#{tab}")
            assert page.page.evaluate("document.documentElement.scrollWidth") <= 360, tab
        page.page.click("#tab-attribution")
        page.page.locator("[data-why]").last.click()  # the whole translation is in the answer
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.problems == []


def test_pre_norm_formulas_and_texts(browser, path):
    with Page(browser, path) as page:
        formula = lambda: page.text(".formula >> nth=0").replace("\u2003", " ")  # noqa: E731
        page.page.click("#tab-steps")
        assert formula() == "x = LayerNorm(r)"
        assert "r + Concat" in page.text("[data-stage='10'] .formula")
        page.page.click("#tab-guide")
        page.page.click("[data-step-name=project]")
        assert "LayerNorm(x)" in formula()
        page.page.click("[data-step-name=encode]")
        assert formula() == "x + Sublayer(LayerNorm(x))"
        assert "this model the input of each sub-layer (pre-norm)" in page.text(".guide .told >> nth=0")


def test_korean_particles_follow_the_spoken_form(browser):
    """으로 follows a final consonant other than ㄹ; other scripts keep both forms."""
    code = static_text("texts.js").replace("export ", "")
    cases = {
        "0.860(으)로": "0.860으로", "0.16(으)로": "0.16으로", "0.173(으)로": "0.173으로", "11(으)로": "11로",
        "47(으)로": "47로", "8(으)로": "8로", "0.245(으)로": "0.245로", "√128을(를)": "√128을", "√64을(를)": "√64를",
        "“집”을(를)": "“집”을", "“나무”을(를)": "“나무”를", "“길”(으)로": "“길”로", "3이(가)": "3이", "2은(는)": "2는",
        "“dog”을(를)": "“dog”을(를)",
    }  # fmt: skip
    with browser.new_context() as context:
        found = context.new_page().evaluate(f"() => {{ {code}; return {json.dumps(list(cases))}.map(withParticles); }}")
    assert found == list(cases.values())


def test_formulas_of_biases_swish_and_learned_positions(browser, tmp_path):
    translator = random_translator(1, 2, 16, attention_bias="true", activation="swish", positions="learned")
    path = tmp_path / "look.html"
    path.write_text(html(explorer_data(translator, "a dog runs")), encoding="utf-8")
    with Page(browser, path) as page:
        formula = lambda place: re.sub(r"\s", "", page.text(place))  # noqa: E731
        page.page.click("#tab-steps")
        assert formula("[data-stage='2'] .formula") == "Q=xWQ+bQK=xWK+bKV=xWV+bV"
        assert formula("[data-stage='10'] .formula") == "LayerNorm(x+ConcatWO+bO)"
        page.page.click("#tab-guide")
        assert "has learned these vectors" in page.text(".guide .told >> nth=0")
        assert page.page.locator(".strip").count() == 1
        page.page.click("[data-step-name=project]")
        assert formula(".guide .formula") == "q=xWQ+bQ,k=xWK+bK,v=xWV+bV"
        page.page.click("[data-step-name=encode]")
        page.page.click("[data-box=FeedForward]")
        assert "swish(z) = z / (1 + e" in page.text(".guide .two")
        assert page.problems == []
