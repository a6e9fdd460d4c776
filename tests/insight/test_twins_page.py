"""The view of ablations in a browser: numbers against the data, slider, comparisons, the card beside the switches."""

from __future__ import annotations

import numpy as np
import pytest

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from tests.insight.conftest import Page

KINDS = ("encoder", "decoder", "cross")


@pytest.fixture(scope="module")
def data(translator):
    return explorer_data(translator, "a b c d", translation="d c b a")


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("twins") / "look.html"
    path.write_text(html(data), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, path):
    with Page(browser, path) as page:
        page.page.click("#tab-twins")
        yield page
        assert page.problems == []


def values(opened, chart: str) -> list[str]:
    return [text.strip() for text in opened.page.locator(f"[data-chart={chart}] [data-value]").all_inner_texts()]


def at_step(opened, place: int) -> None:
    opened.page.locator("#twins-step").fill(str(place))


def norm(run, name, point) -> float:
    return float(np.linalg.norm([x for kind in KINDS for x in run[name][kind][point]]))


def test_charts_show_the_values_at_the_step_of_the_slider(opened, data):
    opened.page.click("[data-width='0']")
    runs = [data["twins"]["runs"][name] for name in ("paper", "unscaled")]
    for place in (0, 3, len(runs[0]["steps"]) - 1):
        at_step(opened, place)
        entropy = [
            np.mean([h for kind in KINDS for layer in run["entropy"][kind][place] for h in layer]) for run in runs
        ]
        assert values(opened, "twEntropy") == [f"{value:.2f}" for value in entropy]
        assert values(opened, "twQuery") == [f"{norm(run, 'query', place):.2f}" for run in runs]
        shown = ["–" if not place else f"{run['validation'][place - 1][1]:.2f}" for run in runs]
        assert values(opened, "twLoss") == shown
        translated = opened.page.locator("[data-sentence='2'] [data-translated]").all_inner_texts()
        assert translated == [" ".join(run["translations"][place][2].split()) or "∅" for run in runs]


def test_one_kind_of_attention(opened, data):
    opened.page.click("[data-part=future_mask]")
    opened.page.click("[data-of=decoder]")
    last = [data["twins"]["runs"][name]["entropy"]["decoder"][-1] for name in ("paper", "future")]
    assert values(opened, "twEntropy") == [f"{np.mean(layers):.2f}" for layers in last]


def test_every_comparison_names_its_runs_and_final_scores(opened, data):
    runs, page = data["twins"]["runs"], opened.page
    pairs = {
        "scale": ("one_head", "one_head_unscaled", "one_head_overscaled"),
        "future_mask": ("paper", "future"),
        "positions": ("paper", "positions"),
        "padding_mask": ("paper", "padding"),
    }
    for part, names in pairs.items():
        page.click(f"[data-part={part}]")
        rows = page.locator("#twins-final tbody tr").all_inner_texts()
        assert [row.split("\t")[1:3] for row in rows] == [
            [f"{runs[name]['final']['loss']:.2f}", f"{runs[name]['final']['bleu']:.1f}"] for name in names
        ]
        for name in names[:2]:
            assert f"{runs[name]['final']['bleu']:.1f}" in page.inner_text("#twins-answer")
    page.click("[data-part=heads]")
    assert "8 heads" in page.inner_text("#twins-final")
    assert "1 head" in page.inner_text("#twins-final")


def test_the_text_about_the_start_agrees_with_the_data(opened, data):
    opened.page.click("[data-part=scale]")
    runs = [data["twins"]["runs"][name] for name in ("one_head", "one_head_unscaled")]
    answer = opened.page.inner_text("#twins-answer")
    for run in runs:
        assert f"{norm(run, 'query', 0):.2f}" in answer
    machine = opened.page.inner_text("#twins-made")
    assert data["twins"]["date"] in machine
    assert data["twins"]["machine"] in machine


def test_playing_moves_the_slider_to_the_end(opened, data):
    page = opened.page
    at_step(opened, len(data["twins"]["runs"]["paper"]["steps"]) - 3)
    page.click("#twins-play")
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.get_by_role("button", name="Play", exact=True).wait_for()
    assert page.locator("#twins-step").input_value() == str(len(data["twins"]["runs"]["paper"]["steps"]) - 1)


def test_a_switch_shows_the_model_trained_without_the_part(opened, data):
    page = opened.page
    page.click("#tab-switches")
    page.click("[data-switch=positions]")
    card = page.inner_text("#trained-without")
    for name in ("paper", "positions"):
        assert f"{data['twins']['runs'][name]['final']['bleu']:.1f}" in card
    page.click("#open-twins")
    assert page.get_attribute("#tab-twins", "aria-selected") == "true"
    assert page.get_attribute("[data-part=positions]", "aria-pressed") == "true"
    page.click("#tab-switches")
    page.click("[data-temperature='2']")
    assert page.locator("#trained-without").count() == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_the_view_fits_the_window(browser, path, width):
    options = {"viewport": {"width": width, "height": 800}, "locale": "ko-KR"}
    with Page(browser, path, **options) as page:
        page.page.click("#tab-twins")
        for part in ("scale", "future_mask", "positions", "heads", "padding_mask"):
            page.page.click(f"[data-part={part}]")
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.problems == []


def test_pages_without_ablations_have_no_tab(browser, data, tmp_path):
    path = tmp_path / "look.html"
    path.write_text(html({name: part for name, part in data.items() if name != "twins"}), encoding="utf-8")
    with Page(browser, path) as page:
        assert page.page.locator("#tab-twins").count() == 0
        page.page.click("#tab-switches")
        page.page.click("[data-switch=positions]")
        assert page.page.locator("#trained-without").count() == 0
        assert page.problems == []
