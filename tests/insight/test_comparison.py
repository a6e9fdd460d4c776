"""Two models side by side: permuted heads, snapshots, loss, different vocabularies, errors, and the page."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html
from allyouneed.insight.patching.comparison import (
    assign,
    comparison_data,
    load_run_or_snapshot,
    match_heads,
    short_names,
)
from allyouneed.insight.patching.patching_data import models_data
from allyouneed.insight.variants.variant import TokenPair
from allyouneed.snapshots import Snapshots
from tests.insight.conftest import Page, random_translator
from tests.insight.test_access import violations
from tests.insight.test_patching import other_weights

TEXT = "a dog runs in the <b>green"


@pytest.fixture(scope="module")
def first() -> Translator:
    return random_translator(2, 4, 16, tie_embeddings="false")


@pytest.fixture(scope="module")
def permuted(first) -> Translator:
    """The same function with the heads of every attention in another order: head i becomes head ORDER[i]."""
    other = other_weights(first, 0)
    with torch.no_grad():
        for module in other.model.modules():
            if hasattr(module, "num_heads"):
                for linear in (module.query, module.key, module.value):
                    heads = linear.weight.unflatten(0, (4, -1)).clone()
                    linear.weight.copy_(heads[SOURCES].flatten(0, 1))
                heads = module.output.weight.unflatten(1, (4, -1)).clone()
                module.output.weight.copy_(heads[:, SOURCES].flatten(1))
    return other


ORDER = [2, 0, 3, 1]
SOURCES = [ORDER.index(i) for i in range(4)]


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_assignment_is_the_best_of_all(size):
    rng = np.random.default_rng(size)
    for _ in range(12):
        costs = rng.integers(0, 5, (size, size)) / 2 if size < 6 else rng.random((size, size))
        found = assign(costs)
        total = sum(costs[i, j] for i, j in enumerate(found))
        everything = itertools.permutations(range(size))
        assert sorted(found) == list(range(size))
        assert total == pytest.approx(min(sum(costs[i, j] for i, j in enumerate(order)) for order in everything))


def test_permuted_heads_are_found(first, permuted):
    data = comparison_data(first, permuted, TEXT, ("one", "two"))
    for kind in ("encoder", "decoder", "cross"):
        assert data["heads"][kind]["match"] == [ORDER, ORDER]
        assert np.max(data["heads"][kind]["distance"]) < 1e-3
        assert np.min(data["heads"][kind]["at_index"]) > np.max(data["heads"][kind]["distance"])
    assert data["sides"][0]["text"] == data["sides"][1]["text"]
    assert max(data["divergence"][0]) < 1e-3


def test_distance_is_the_share_of_attention_that_differs():
    rows = np.array([[1.0, 0, 0], [0.5, 0.5, 0]])
    found = match_heads([rows[None, None]], [np.array([[0.0, 1, 0], [0.5, 0.25, 0.25]])[None, None]])
    assert found.distance[0, 0] == pytest.approx((1 + 0.25) / 2)


@torch.no_grad()
def test_loss_and_predictions_agree_with_single_passes(first):
    second = other_weights(first, 0.3)
    pairs = [TokenPair([*first.tokenizer.encode(x), EOS], first.tokenizer.encode(x)[::-1]) for x in (TEXT, "a cat")]
    data = comparison_data(first, second, TEXT, ("one", "two"), pairs)
    for i, model in enumerate((first.model, second.model)):
        total, count = 0.0, 0
        for source, target in pairs:
            log_p = model(torch.tensor([source]), torch.tensor([[BOS, *target]])).log_softmax(-1)[0]
            total -= float(log_p[range(len(target) + 1), [*target, EOS]].sum())
            count += len(target) + 1
        assert data["set"]["per_token"][i] == pytest.approx(total / count, abs=1e-3)
    assert data["set"]["pairs"] == 2
    assert data["sentences"] == 3
    p, q = (np.array([p for _, p in each["top"][0]]) for each in data["scored"][0])
    assert (p > 0).all()
    assert (q > 0).all()
    assert all(0 <= x <= 1 for x in data["divergence"][1])
    assert data["exchangeable"]
    json.dumps(data, allow_nan=False)


def test_other_shapes_and_vocabularies(first):
    deeper = random_translator(3, 2, 16, tie_embeddings="false")
    data = comparison_data(first, deeper, TEXT, ("one", "two"))
    assert data["heads"] is None
    assert data["same_tokens"]
    assert not data["exchangeable"]
    deeper.tokenizer = Renamed(deeper.tokenizer)
    pairs = [TokenPair([*first.tokenizer.encode("a cat"), EOS], first.tokenizer.encode("a dog"))]
    data = comparison_data(first, deeper, TEXT, ("one", "two"), pairs)
    assert data["divergence"] is None
    assert data["set"]["per_token"] is None
    assert all(math.isfinite(x) for x in data["set"]["per_character"])


class Renamed:
    """A tokenizer that claims other files."""

    def __init__(self, inner):
        self.inner, self.target = inner, inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def files(self):
        return {}


def test_snapshots_are_loaded_with_the_settings_of_their_run(toy_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(toy_run)
    translator = Translator.load(toy_run)
    with torch.no_grad():
        translator.model.output.weight.zero_()
    kept = Snapshots(tmp_path / "own" / "snapshots")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "bundle").symlink_to(toy_run / "bundle")
    kept.save(7, translator.model)
    loaded = load_run_or_snapshot(kept.path(7))
    assert not loaded.model.output.weight.any()
    assert Translator.load(toy_run).model.output.weight.any()
    (kept.path(7) / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="Choose another snapshot"):
        load_run_or_snapshot(kept.path(7))
    assert str(load_run_or_snapshot(run)) == str(Translator.load(toy_run))


def test_names():
    assert short_names(Path("/a/run"), Path("/b/run")) == ("a/run", "b/run")
    assert short_names(Path("/a/run"), Path("/a/run/snapshots/weights-5")) == ("run", "weights-5")


def test_errors(first):
    with pytest.raises(UserError, match="the sentence is empty"):
        comparison_data(first, first, " ", ("one", "two"))
    with pytest.raises(UserError, match="limit of a comparison is 160"):
        comparison_data(first, first, "park " * 200, ("one", "two"))
    other = random_translator(2, 4, 16, tie_embeddings="false")
    other.bundle.languages = ("en", "ko")
    with pytest.raises(UserError, match="different languages"):
        comparison_data(first, other, TEXT, ("one", "two"))


@pytest.fixture(scope="module")
def path(first, tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "look.html"
    second, names = other_weights(first, 0.3), ("one", "</script>two")
    added = {
        "comparison": comparison_data(first, second, TEXT, names),
        "patching": models_data(first, second, TEXT, names),
    }
    path.write_text(html({**explorer_data(first, TEXT, []), **added}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "ko-KR", 360)])
def test_page(browser, path, first, scheme, locale, width):
    data = comparison_data(first, other_weights(first, 0.3), TEXT, ("one", "two"))
    options = {"color_scheme": scheme, "locale": locale, "viewport": {"width": width, "height": 900}}
    with Page(browser, path, **options) as page:
        page.page.click("#tab-comparison")
        assert page.text("[data-compared='1']") == data["sides"][1]["text"]
        page.page.click("#compared-heads [data-kind=cross]")
        page.page.click("[data-compared-row='1.2']")
        match = data["heads"]["cross"]["match"][1][2]
        selector = f"[data-compared-head='cross.1.{match}']"
        assert page.page.get_attribute(selector, "aria-pressed") == "true"
        assert float(page.text("[data-number=distance]")) == pytest.approx(
            data["heads"]["cross"]["distance"][1][2], abs=0.0011
        )
        page.page.click("[data-compared-head='cross.0.0']")
        assert page.page.evaluate("document.activeElement.dataset.comparedHead") == "cross.0.0"
        page.page.click("[data-compared-text='1']")
        page.page.click("[data-compared-at='1']")
        page.page.mouse.move(0, 0)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page.page) == []
        page.page.click("#tab-patching")
        assert page.page.locator("[data-patch^='decoder stream.0']").count() > 0
        assert page.problems == []
