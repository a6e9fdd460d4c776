"""The guided path: its pictures show the model's values."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from allyouneed.insight.recorder import record
from allyouneed.insight.twins import load_twins
from allyouneed.model.embedding import sinusoids
from tests.insight.conftest import Page

TEXT = "a b c d"
STEPS = ["embed", "project", "attend", "why", "masks", "many", "encode", "decode", "nextToken", "beam"]


@pytest.fixture(scope="module")
def data(translator):
    return explorer_data(translator, TEXT, [])


@pytest.fixture
def opened(browser, data, tmp_path):
    path = tmp_path / "look.html"
    path.write_text(html(data), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click("#tab-guide")
        yield page
        assert page.problems == []


def go_to(page: Page, name: str) -> None:
    page.page.click(f"[data-step-name={name}]")


def tip(page: Page, selector: str, column: int, columns: int) -> float:
    """Hover over a column of a strip and return the number in the tooltip."""
    box = page.page.locator(selector).bounding_box()
    page.page.mouse.move(box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + box["height"] / 2)
    return float(page.text(".tip b").replace("−", "-"))


def test_all_steps_in_order_with_section_equation_and_picture(opened):
    assert (
        opened.page.locator("[data-step-name]").evaluate_all("nodes => nodes.map((n) => n.dataset.stepName)") == STEPS
    )
    for number, name in enumerate(STEPS, start=1):
        assert opened.page.get_attribute("[data-guide]", "data-guide") == name
        assert opened.text(".guide h2").startswith(f"{number}. ")
        assert re.search(r"section \d", opened.text(".guide h2"))
        assert len(re.findall(r"[.?:!] [A-Z]|\.$", opened.text(".guide .told >> nth=0"))) <= 4
        assert opened.text(".guide .formula")
        assert not re.search(r"\b(true|false|null|undefined|NaN)\b", opened.text(".guide"))
        assert opened.page.locator(".guide canvas, .guide svg, .guide table").count()
        opened.page.click("#guide-on")
    assert opened.page.get_attribute("#tab-heads", "aria-selected") == "true"


def test_strips_are_embedding_position_and_their_sum(opened, translator):
    model, width = translator.model, translator.model.config.d_model
    row = translator.tokenizer.encode(TEXT)[2]
    opened.page.click("[data-token='2']")
    embedding = model.source_embedding.tokens.weight[row].detach().numpy() * math.sqrt(width)
    position = sinusoids(3, width)[2].numpy()
    for column in (0, 1, 6, width - 1):
        found = [tip(opened, f".strip >> nth={strip} >> canvas", column, width) for strip in range(3)]
        expected = [embedding[column], position[column], embedding[column] + position[column]]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_weights_of_the_selected_query(opened, translator, data):
    weights = translator.look(TEXT, data["translation"]).encoder
    go_to(opened, "attend")
    opened.page.click("[data-token='1']")
    opened.page.select_option("#guide-head", index=1)
    found = opened.page.locator("[data-guide-weight]").all_inner_texts()
    expected = weights[0, 1, 1]
    np.testing.assert_allclose([float(x.replace("<0.001", "0")) for x in found], expected, atol=1.1e-3)


def test_experiment_follows_its_slider(opened):
    go_to(opened, "why")
    opened.page.fill("#scale-width", "7")
    assert opened.text("#scale-d_k") == "128"
    assert opened.page.locator("[data-guide=why] .chart").count() == 4


def test_trained_without_the_scale_and_the_mask(opened, data):
    runs = {name: run["final"]["bleu"] for name, run in load_twins()["runs"].items()}
    go_to(opened, "why")
    shown = opened.numbers("[data-trained=scale] .told")
    assert len(shown) == 2
    assert set(shown) <= {round(bleu, 1) for bleu in runs.values()}
    go_to(opened, "masks")
    assert opened.page.locator("[data-trained]").count() == 0
    opened.page.click("#guide-unmask")
    assert f"{runs['future']:.1f}" in opened.text("[data-trained=future_mask] .told")


def test_mask_can_be_turned_off_in_the_decoder_only(opened):
    go_to(opened, "masks")
    assert opened.page.locator(".hatch").count() == 1
    assert opened.page.locator("#guide-unmask").count() == 1
    opened.page.click("#guide-unmask")
    assert opened.page.locator(".hatch").count() == 0
    opened.page.click("[data-place=encoder]")
    assert opened.page.locator("#guide-unmask").count() == 0


def test_boxes_of_figure_1(opened):
    for step, boxes in (("encode", 5), ("decode", 9)):
        go_to(opened, step)
        selectable = opened.page.locator("[data-box]")
        assert selectable.count() == boxes
        for box in range(boxes):
            selectable.nth(box).press("Enter")
            assert opened.page.locator("[data-box][aria-pressed=true]").count() == 1
            assert opened.text(".guide .two h3")


def test_steps_without_data_are_left_out(browser, translator, tmp_path):
    source = translator.tokenizer.encode(TEXT)
    with record(translator.model, translator.tokenizer) as seen:
        translator.model(torch.tensor([source]), torch.tensor([[1, *source]]))
    path = tmp_path / "recorded.html"
    path.write_text(seen.html(), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click("#tab-guide")
        assert page.page.locator("[data-step-name=beam], [data-step-name=nextToken]").count() == 0
        assert page.page.locator("[data-step-name=attend]").count() == 1
        assert page.problems == []
