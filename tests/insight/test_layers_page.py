"""The views of the layers in a browser: their numbers are the model's."""

import numpy as np
import pytest

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.logit_lens import logit_lens, nearest_source_tokens
from allyouneed.insight.page import html
from allyouneed.insight.states import token_pair
from tests.insight.conftest import Page

TEXT, TRANSLATION = "a b c d", "d c b a"


@pytest.fixture(scope="module")
def path(translator, tmp_path_factory):
    path = tmp_path_factory.mktemp("layers") / "look.html"
    examples = [token_pair(translator, "b a d", "d a b"), token_pair(translator, "c", "c")]
    data = explorer_data(translator, TEXT, [], TRANSLATION, examples=examples)
    path.write_text(html(data), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, path):
    with Page(browser, path) as page:
        yield page
        assert page.problems == []


def shown(piece):
    return "␣" if piece == "▁" else piece[1:] if piece.startswith("▁") else piece if piece[0] == "<" else f"·{piece}"


def test_cells_of_the_lens(opened, translator):
    lens = logit_lens(translator, TEXT, TRANSLATION)
    page = opened.page
    page.click("#tab-lens")
    cells = page.eval_on_selector_all("[data-lens]", "found => found.map(x => [x.dataset.lens, x.title, x.className])")
    assert len(cells) == lens.rank.size
    for place, text, name in cells:
        state, position = map(int, place.split("."))
        assert text == shown(lens.top[state][position])
        assert (name == "reached") == (lens.rank[state, position] == 1)
    page.click("[data-lens='2.1']")
    assert opened.numbers("#lens-detail tbody td.n") == pytest.approx(lens.top_p[2, 1].tolist()[:1], abs=6e-4)
    note = opened.text("[data-number=lens]")
    assert f"rank {lens.rank[2, 1]} " in note
    assert f"{np.exp(lens.log_p[2, 1]):.3f}" in note or lens.log_p[2, 1] < -6.9
    page.click("#lens-fine")
    assert page.locator("[data-lens]").count() == 2 * lens.rank.shape[1]
    shares = page.eval_on_selector_all("#lens-agreement tbody tr", "rows => rows.map(row => row.cells[1].innerText)")
    assert shares == [f"{round(100 * x)} %" for x in lens.agreement[[0, -1]]]


def test_curves_of_the_lens(opened, translator):
    page = opened.page
    page.click("#tab-lens")
    page.click("[data-lens='3.0']")
    page.click("[data-follow='2']")
    lens = logit_lens(translator, TEXT, TRANSLATION)
    name = page.inner_text("[data-follow='2']")
    ids = [i for i in np.unique(lens.top_ids[:, 0]) if shown(translator.tokenizer.pieces([i])[0]) == name]
    rank, log_p = lens.curves([ids] * len(lens.final))
    chance, ranks = page.eval_on_selector_all(".curve svg", "found => found.map(x => x.getAttribute('aria-label'))")
    numbers = [float(x) if x[0] != "<" else 0 for x in chance.split(f"{name}: ")[1].split("; ")[0].split(", ")]
    np.testing.assert_allclose(numbers, np.exp(log_p[0, 0]), atol=1.1e-3)
    assert ranks.split(f"{name}: ")[1].split("; ")[0] == ", ".join(map(str, rank[0, 0]))


def test_keyboard_moves_in_the_lens(opened):
    page = opened.page
    page.click("#tab-lens")
    page.click("[data-lens='1.1']")
    for key, place in (("ArrowDown", "2.1"), ("ArrowRight", "2.2"), ("ArrowUp", "1.2"), ("ArrowLeft", "1.1")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.lens") == place
    assert page.locator("[data-lens][tabindex='0']").count() == 1


def test_the_encoders_nearest_tokens(opened, translator):
    nearest = nearest_source_tokens(translator, TEXT)
    page = opened.page
    page.click("#tab-lens")
    page.click("#lens-encoder")
    found = page.eval_on_selector_all("[data-lens]", "cells => cells.map(x => x.title)")
    expected = [shown(piece) for row in nearest.ids[..., 0] for piece in translator.tokenizer.pieces(row)]
    assert found == expected
    page.click("[data-lens='2.0']")
    assert f"rank {nearest.own_rank[2, 0]} " in opened.text("[data-number=lens]")
    assert opened.numbers("#lens-detail tbody")[0] == pytest.approx(nearest.cosine[2, 0, 0], abs=6e-3)
