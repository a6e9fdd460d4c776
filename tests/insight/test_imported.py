"""Imported models, and models with settings that the paper does not have, work in every view."""

import importlib.util

import pytest

from allyouneed import Translator
from allyouneed.exchange.importer import import_bundle
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.layers.states import token_pair
from allyouneed.insight.page import html
from tests.compat import IMPORTED
from tests.exchange.opus import SHAPES, write_marian
from tests.insight.conftest import Page, random_translator

TEXT = "a b c d."


def marian(folder, shape: str) -> Translator:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed: pip install 'allyouneed[exchange]'")
    write_marian(folder / "hf", **SHAPES[shape])
    import_bundle("marian", [folder / "hf"], folder / "run")
    return Translator.load(folder / "run")


FAIRSEQ = {
    **{"norm": "pre", "final_norm": "false", "embedding_norm": "true", "scale_embeddings": "false"},
    **{"activation": "gelu", "feed_forward_bias": "false", "decoder_d_ff": 24, "decoder_heads": 4},
    **{"sinusoid_frequencies": "tensor2tensor", "first_position": 2, "tie_embeddings": "inputs"},
}
MODELS = {
    "Marian, joint": lambda folder: Translator.load(IMPORTED),
    "Marian, two vocabularies": lambda folder: marian(folder, "two vocabularies, nothing tied"),
    "Marian, 1 + 2 layers": lambda folder: marian(folder, "two decoder layers, a separate start token"),
    "learned positions, norm first": lambda folder: random_translator(
        2, 2, 16, norm="pre", positions="learned", max_positions=300, tie_embeddings="false"
    ),
    "fairseq's shapes": lambda folder: random_translator(2, 2, 16, **FAIRSEQ),
    "narrow keys": lambda folder: random_translator(1, 3, 24, d_k=5, d_v=4),
}


SLOW = ("Marian, joint", "fairseq's shapes", "Marian, 1 + 2 layers", "narrow keys")


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in MODELS])
def test_every_view_shows_the_model(browser, tmp_path, name):
    translator = MODELS[name](tmp_path)
    data = explorer_data(translator, TEXT, examples=[token_pair(translator, "d c b", "a b c")])
    [translation] = translator.translate([TEXT], repetition_guard=False)
    assert data["translation"] == translation.text
    assert data["lens"], data["inside"]
    assert all(each["translation"] for each in data["variants"].values())
    path = tmp_path / "page.html"
    path.write_text(html(data), encoding="utf-8")
    with Page(browser, path) as opened:
        tabs = [tab.get_attribute("id") for tab in opened.page.query_selector_all("[role=tab]")]
        assert {"tab-heads", "tab-steps", "tab-switches", "tab-lens", "tab-search"} <= set(tabs)
        for tab in tabs:
            opened.page.click(f"#{tab}")
            for kind in ("decoder", "cross"):
                if opened.page.query_selector(f"[data-kind={kind}]"):
                    opened.page.click(f"[data-kind={kind}]")
            assert opened.text("#panel").strip()
            assert not opened.problems, tab


def test_equations_are_those_of_the_model(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html(explorer_data(random_translator(2, 2, 16, **FAIRSEQ), TEXT, switches=[])), encoding="utf-8")
    with Page(browser, path) as opened:
        page = opened.page
        page.click("#tab-guide")
        assert opened.text(".formula") == "x = LayerNorm(E[token] + PE(pos))"
        assert "multiplied" not in opened.text(".told")
        page.click("#tab-inside")
        assert "PE(pos, 2i) = sin(pos / 10000i / (d/2 − 1))" in opened.text("#panel")
        assert "The first token of a sentence has position 2." in opened.text("#panel")
        page.click("#insideUnits")
        assert opened.text(".formula") == "FFN(x) = GELU(x W1) W2"
        assert "A sum of 16 units" in opened.text("#panel")
        page.click("#stack-decoder")
        assert "A sum of 24 units" in opened.text("#panel")
        page.click("#tab-lens")
        assert "this model has no final layer norm" in opened.text("#panel")
        assert not opened.problems
