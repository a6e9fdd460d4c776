"""The views of the layers in a browser: their numbers are the model's."""

import numpy as np
import pytest
import torch

from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.layers.embeddings import embedded_tokens, neighbours
from allyouneed.insight.layers.logit_lens import logit_lens, nearest_source_tokens
from allyouneed.insight.layers.states import token_pair
from allyouneed.insight.layers.stream import residual_stream_lengths
from allyouneed.insight.layers.units import feed_forward_units
from allyouneed.insight.page import html, script
from allyouneed.model.embedding import sinusoids
from tests.insight.conftest import Page, random_translator

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


def test_positions_in_the_browser_are_the_models(opened):
    blank = opened.context.new_page()
    run = lambda code: blank.evaluate(f"(() => {{ {script('app.js')}; return {code}; }})()")  # noqa: E731
    for frequencies, first in (("paper", 0), ("tensor2tensor", 2)):
        exact = sinusoids(40, 32, torch.float64, frequencies, first).numpy()
        model = f'{{ d_model: 32, frequencies: "{frequencies}", first_position: {first} }}'
        table = np.reshape(run(f"Array.from(sinusoidTable(40, {model}).values)"), (40, 32))
        np.testing.assert_allclose(table, exact, atol=1e-12)
        products = np.reshape(run(f"Array.from(rowProducts(sinusoidTable(40, {model})).values)"), (40, 40))
        np.testing.assert_allclose(products, exact @ exact.T, atol=1e-10)
        assert run(f"diagonalSpread(rowProducts(sinusoidTable(40, {model})))") < 1e-12
        assert run(f"rotationError(sinusoidTable(40, {model}), -7, {model})") < 1e-13


def test_a_shift_turns_the_encoding(opened, translator):
    page = opened.page
    page.click("#tab-inside")
    for slider, value in (("pair", 1), ("shift", -5), ("from", 9)):
        page.eval_on_selector(f"#pe-{slider}", f"x => {{ x.value = {value}; x.dispatchEvent(new Event('input')); }}")
    table = sinusoids(10, translator.model.config.d_model).numpy()[:, 2:4]
    for name, position in (("from", 9), ("turned", 4), ("moved", 4)):
        pair = page.inner_text(f"[data-number={name}]").strip("()").replace("−", "-").split(", ")
        assert [float(x) for x in pair] == pytest.approx(table[position].tolist(), abs=1e-3)


def test_embeddings_and_neighbours(opened, translator):
    page = opened.page
    page.click("#tab-inside")
    page.click("#insideEmbeddings")
    page.click("#inside-target")
    page.click("[data-token='2']")
    lengths = embedded_tokens(translator, TEXT, TRANSLATION)["target"].lengths
    shown_lengths = np.reshape(opened.numbers("#lengths tbody"), (-1, 3))
    np.testing.assert_allclose(shown_lengths, lengths, atol=6e-3, rtol=1e-3)
    token = translator.tokenizer.target.encode(TRANSLATION)[1]
    found = neighbours(translator.model, [token], "target")
    names = page.eval_on_selector_all("#neighbours tbody th", "found => found.map(x => x.textContent)")
    assert names == [shown(piece) for piece in translator.tokenizer.target.pieces(found.ids[0])]
    assert opened.numbers("#neighbours tbody") == pytest.approx(found.cosine[0].tolist(), abs=1e-3)


def test_units(opened, translator):
    units = feed_forward_units(translator, TEXT, TRANSLATION)["decoder"][0]
    page = opened.page
    page.click("#tab-inside")
    page.click("#insideUnits")
    page.click("#stack-decoder")
    stored = page.eval_on_selector_all("[data-unit]", "found => found.map(x => Number(x.dataset.unit))")
    assert stored == units.strongest(len(stored))
    page.click(f"[data-unit='{stored[3]}']")
    shown_values = page.eval_on_selector_all("#unit-detail tbody td.n", "found => found.map(x => x.innerText)")
    values = [0 if x.startswith("<") else float(x.replace("−", "-")) for x in shown_values]
    np.testing.assert_allclose(values, units.activations[:, stored[3]], atol=0.02)
    assert page.locator(".context mark").count() == 2  # one per example
    assert page.locator("[data-writes=ffToward] .chip").count() == 5
    share = page.inner_text("#active-units tbody tr:nth-child(2) td:nth-child(2)")
    assert share == f"{100 * units.active.mean():.1f} %"


def test_the_residual_stream(opened, translator):
    lengths = residual_stream_lengths(translator, TEXT, TRANSLATION)["decoder"]
    page = opened.page
    page.click("#tab-inside")
    page.click("#insideStream")
    page.click("#stack-decoder")
    page.click("[data-token='1']")
    columns = [lengths.residual, lengths.output, lengths.sum, lengths.result, lengths.cosine]
    if translator.model.config.norm == "pre":
        columns.pop(3)
    texts = page.eval_on_selector_all("#stream tbody td.n", "found => found.map(x => x.innerText)")
    values = np.reshape([float(x.replace("−", "-").replace("<", "")) for x in texts], (-1, len(columns)))
    np.testing.assert_allclose(values, np.stack([x[:, 1] for x in columns], axis=1), atol=0.012, rtol=2e-3)


def test_learned_positions_have_no_rotation(browser, tmp_path):
    translator = random_translator(1, 2, 16, positions="learned", max_positions=300)
    path = tmp_path / "look.html"
    path.write_text(html(explorer_data(translator, "a dog", [], "the cat")), encoding="utf-8")
    with Page(browser, path) as page:
        page.page.click("#tab-inside")
        page.page.click("#inside-target")
        assert page.page.locator("#panel canvas").count() == 2
        assert page.page.locator(".clock").count() == 0
        for part in ("insideEmbeddings", "insideUnits", "insideStream"):
            page.page.click(f"#{part}")
        assert page.problems == []
