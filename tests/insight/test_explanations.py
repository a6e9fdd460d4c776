"""Numbers in the explanations of the page, for three heads, compared with own matrix code and autograd."""

import math
import re

import numpy as np
import pytest
import torch

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from allyouneed.insight.variants.effects import EffectText
from allyouneed.insight.variants.scale_gradients import gradient_norms
from allyouneed.insight.variants.switches import Switches
from tests.conftest import toy_pairs
from tests.insight.conftest import Page

TEXT, TRANSLATION = "a b c d", "d c b a"
HEADS = [("encoder", 0, 0), ("decoder", 0, 1), ("cross", 0, 1)]
EFFECTS = EffectText(toy_pairs(5, seed=5), "toy", given=True)


@pytest.fixture(scope="module")
def data(translator):
    return explorer_data(translator, TEXT, translation=TRANSLATION, effect_text=EFFECTS)


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "look.html"
    path.write_text(html(data), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, path):
    with Page(browser, path) as page:
        yield page
        assert page.problems == []


def select(opened, kind, layer, head):
    page = opened.page
    page.click("#tab-steps")
    page.click(f"[data-kind={kind}]")
    page.select_option("#choose-layer", index=layer)
    page.select_option("#choose-head", index=head)


@pytest.mark.parametrize(("kind", "layer", "head"), HEADS)
def test_spread_of_scores_and_of_their_products(opened, translator, kind, layer, head):
    stages = translator.look(TEXT, TRANSLATION).stages[kind][layer]
    queries, keys = stages["queries"][head], stages["keys"][head]
    pairs = [(i, j) for i in range(len(queries)) for j in range(len(keys)) if kind != "decoder" or j <= i]
    products = np.array([queries[i] * keys[j] for i, j in pairs])
    scores = products.sum(-1)
    select(opened, kind, layer, head)
    d_k = queries.shape[-1]
    expected = [products.std(), scores.std(), scores.std() / products.std(), math.sqrt(d_k)]
    assert opened.numbers("#spread-note") == pytest.approx(expected, abs=0.0056)


@pytest.mark.parametrize(("kind", "layer", "head"), HEADS)
def test_entropy_jacobian_and_gradient_with_and_without_the_scale(opened, translator, kind, layer, head):
    stages = translator.look(TEXT, TRANSLATION).stages[kind][layer]
    scores = torch.from_numpy(stages["scores"][head]).double()
    d_k = stages["queries"].shape[-1]
    hidden = torch.ones_like(scores).triu(1).bool() if kind == "decoder" else torch.zeros_like(scores).bool()
    entropy, norms = [], []
    for divisor in (math.sqrt(d_k), 1.0):
        rows = (scores / divisor).masked_fill(hidden, -torch.inf)
        entropy.append(float(torch.special.entr(rows.softmax(-1)).sum(-1).mean()))
        jacobians = [torch.autograd.functional.jacobian(lambda row: row.softmax(-1), row) for row in rows]
        norms.append(np.mean([float(torch.linalg.norm(each.nan_to_num())) for each in jacobians]))
    select(opened, kind, layer, head)
    expected = [*entropy, *norms, 1 / math.sqrt(d_k)]
    assert opened.numbers("#softmax-note") == pytest.approx(expected, abs=0.0011)
    encode = translator.tokenizer.encode, translator.tokenizer.target.encode
    pairs = [([*encode[0](source), EOS], [*encode[1](target), EOS]) for source, target in EFFECTS.pairs]
    index = {"encoder": 0, "decoder": 1, "cross": 2}[kind] * 2 + head
    computed = [gradient_norms(translator.model, pairs, Switches(scale=scale))[0][index] for scale in (True, False)]
    found = [float(x) for x in re.findall(r"\d+\.\d+(?:e-\d+)?", opened.text("#gradient-note"))]
    assert found[:2] == pytest.approx(computed, rel=0.006)
    assert len(found) == 4  # and with random weights


def test_formulas_and_colours_follow_the_switches(opened):
    page = opened.page
    select(opened, "decoder", 0, 0)
    formula = lambda stage: re.sub(r"\s", "", page.inner_text(f"[data-stage='{stage}'] .formula"))  # noqa: E731
    image = lambda stage: page.eval_on_selector(f"[data-stage='{stage}'] canvas", "canvas => canvas.toDataURL()")  # noqa: E731
    assert [formula(stage) for stage in (3, 4, 5, 6)] == ["S=QKᵀ", "S′=S/√dk", "S′+M", "A=softmax(S′+M)"]
    boxes = [page.locator(f"[data-stage='4'] {part}").first.bounding_box() for part in (".above", ".mat")]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"] + 1  # the labels of the columns are above them
    assert boxes[0]["x"] == pytest.approx(boxes[1]["x"], abs=2)
    assert image(3) != image(4)  # the same colours stand for the same numbers
    page.click("#local-scale")
    assert formula(4) == "S′=S"
    assert image(3) == image(4)
    page.fill("#local-temperature", "1")
    assert formula(4) == "S′=S/2.00"
    page.click("#local-scale")
    assert formula(4) == "S′=S/(√dk·2.00)"
    page.click("#local-mask")
    assert (formula(5), formula(6)) == ("S′", "A=softmax(S′)")
    assert image(4) == image(5)


def normal_numbers(seed: int, count: int) -> np.ndarray:
    """Compute the page's random numbers: mulberry32, then the Box-Muller transform."""
    state, uniform, word = seed, [], 0xFFFFFFFF
    for _ in range(2 * count):
        state = (state + 0x6D2B79F5) & word
        x = ((state ^ (state >> 15)) * (state | 1)) & word
        x ^= (x + (((x ^ (x >> 7)) * (x | 61)) & word)) & word
        uniform.append((x ^ (x >> 14)) / 2**32)
    first, second = np.array(uniform).reshape(-1, 2).T
    return np.sqrt(-2 * np.log(1 - first)) * np.cos(2 * np.pi * second)


def test_experiment_with_random_vectors(opened):
    """Recomputed from the page's vectors; the gradient of the query by automatic differentiation."""
    page = opened.page
    select(opened, "encoder", 0, 0)
    page.click("#scale-open")
    page.fill("#scale-width", "4")
    assert opened.text("#scale-d_k") == "16"
    numbers = torch.from_numpy(normal_numbers(7919 + 16, 64 * 16 + 32 * 32))
    queries, keys, g = numbers[:512].view(32, 16), numbers[512:1024].view(32, 16), numbers[1024:].view(32, 32)
    assert abs(float(numbers.mean())) < 0.1
    assert float(numbers.var()) == pytest.approx(1, abs=0.1)
    for column, factor in ((1, 0.25), (2, 1.0)):
        variable = queries.clone().requires_grad_()
        p = (variable @ keys.T * factor).softmax(-1)
        [gradient] = torch.autograd.grad((p * g).sum(), variable)
        p = p.detach()
        jacobian = torch.linalg.matrix_norm(torch.diag_embed(p) - p[:, :, None] * p[:, None])
        norms = gradient.norm(dim=-1)
        expected = {
            "entropy": float(torch.special.entr(p).sum(-1).mean()),
            "largest": float(p.amax(-1).mean()),
            "jacobian": float(jacobian.mean()),
            "gradient": float(norms.mean()),
            "gradientMedian": float(norms.sort().values[16]),
            "saturated": round(100 * float((jacobian < 1e-3).double().mean())),
        }
        for name, value in expected.items():
            shown = opened.text(f"[data-measure={name}] :nth-child({column + 1})").replace(" %", "")
            assert float(shown) == pytest.approx(value, abs=0.0051), name
    before = opened.text("#scale-table")
    page.click("#scale-again")
    assert opened.text("#scale-table") != before


def test_effects_over_sentences_are_beside_the_answer(opened, data):
    page = opened.page
    page.click("#tab-switches")
    for name in ("scale", "future_mask", "padding_mask", "positions"):
        page.click(f"[data-switch={name}]")
        effect, base = data["effects"]["variants"][f"{name}=off"], data["effects"]["base"]
        assert opened.text("#effects [data-effect=changed]").startswith(f"{effect['changed']} of 5 ")
        shown = opened.numbers("#effects tbody tr >> nth=0 ")
        assert shown == pytest.approx([-base["log_p"], -effect["log_p"]], abs=6e-4)
        assert ("visible" in opened.text("#effects tbody tr >> nth=0")) == (name == "future_mask")
        assert ("sees the token it has to predict" in opened.text("#next")) == (name == "future_mask")
    page.click("[data-switch=scale]")
    norms = [
        math.hypot(*data["effects"]["gradients"][name][scale])
        for name in ("trained", "initial")
        for scale in ("scale", "no_scale")
    ]
    rows = [opened.numbers(f"[data-gradient=fx_{name}]")[:2] for name in ("trained", "initial")]
    assert np.ravel(rows) == pytest.approx(norms, abs=6e-4)
    page.click("#to-experiment")
    assert page.is_visible("#scale-table")


@pytest.mark.parametrize("name", ["[data-switch=scale]", "[data-switch=positions]", "[data-off='encoder.0.1']"])
def test_on_a_phone_the_answer_follows_the_switch(browser, path, name):
    with Page(browser, path, viewport={"width": 360, "height": 740}) as page:
        page.page.click("#tab-switches")
        page.page.click(name)
        control, answer = (page.page.locator(each).bounding_box() for each in (name, "#brief .answer >> nth=0"))
        assert 0 < answer["y"] - control["y"] < 370
        assert page.page.locator("#answer").count() == 1
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.problems == []


def test_every_tab_is_reachable_on_a_phone(browser, path):
    with Page(browser, path, viewport={"width": 360, "height": 740}) as page:
        tabs = page.page.eval_on_selector_all("[role=tab]", "tabs => tabs.map(tab => tab.id)")
        for tab in tabs:
            page.page.click(f"#{tab}")
            box = page.page.locator(f"#{tab}").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_recording_has_no_tab_for_switches(browser, data, tmp_path):
    path = tmp_path / "look.html"
    path.write_text(html({**data, "variants": {}, "base": {**data["base"], "predictions": None}}), encoding="utf-8")
    with Page(browser, path) as page:
        assert page.page.query_selector("#tab-steps")
        assert not page.page.query_selector("#tab-switches")
