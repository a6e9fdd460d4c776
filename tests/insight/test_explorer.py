import base64
import json

import numpy as np
import pytest
import torch

from allyouneed import UserError
from allyouneed.insight.explorer import explorer_data, live_variant
from allyouneed.insight.page import html
from allyouneed.insight.variants import variant
from allyouneed.insight.variants.switches import Switches, single_switches
from tests.insight.conftest import random_translator

TEXT = "a b c d"


def test_data_equal_the_results_of_look(translator):
    data = explorer_data(translator, TEXT)
    attention = translator.look(TEXT, data["translation"])
    assert data["source"]["tokens"] == attention.source_tokens
    assert data["target"]["tokens"] == attention.target_tokens
    assert data["target"]["inputs"] == attention.target_inputs
    packed = data["base"]["attention"]["cross"]
    weights = np.frombuffer(base64.b64decode(packed["data"]), "<u2") / 65535
    np.testing.assert_allclose(weights.reshape(packed["shape"]), attention.cross, atol=1e-4)
    norms = []  # of each softmax's Jacobian, by PyTorch
    for kind in ("encoder", "decoder", "cross"):
        for head in torch.from_numpy(getattr(attention, kind)).double().flatten(0, 1):
            jacobians = torch.diag_embed(head) - head[:, :, None] * head[:, None, :]
            norms.append(float(torch.linalg.matrix_norm(jacobians).mean()))
    assert data["base"]["jacobian"] == pytest.approx(np.mean(norms), abs=1e-4)
    assert [[i, j] for i, j, _ in data["links"]] == [list(link) for link in translator.align(TEXT, data["translation"])]
    assert set(data["variants"]) == {each.key for each in single_switches(translator.model)}
    json.dumps(data, allow_nan=False)


def test_the_search_ends_in_the_translation(translator):
    data = explorer_data(translator, TEXT, switches=[])
    nodes, at, pieces = data["search"]["nodes"], data["search"]["ended"][0], []
    while at >= 0:
        pieces.append(nodes[at][2])
        at = nodes[at][0]
    assert pieces[::-1] == data["target"]["tokens"]
    assert data["translation"] == translator.translate([TEXT])[0].text


def test_given_translation(translator):
    data = explorer_data(translator, TEXT, switches=[Switches(scale=False)], translation="d c")
    assert (data["translation"], data["search"], list(data["variants"])) == ("d c", None, ["scale=off"])
    live = live_variant(translator, TEXT, "d c", Switches(scale=False, positions=False))
    assert live["key"] == "scale=off,positions=off"
    assert live["attention"]["encoder"]["bits"] == 16


def test_texts_that_cannot_be_shown(translator):
    with pytest.raises(UserError, match="the sentence is empty"):
        explorer_data(translator, "  ")
    with pytest.raises(UserError, match="shorten it"):
        explorer_data(translator, "a b " * 400)
    learned = random_translator(1, 2, 16, positions="learned", max_positions=400)
    with pytest.raises(UserError, match="limit of a page is 396"):  # 4 positions are for padding
        explorer_data(learned, "a b " * 300)


def test_learned_positions_are_enough_for_every_switch():
    """A random model rarely predicts the end, so every search reaches its maximum length."""
    learned = random_translator(1, 2, 16, positions="learned", max_positions=300)
    learned.bundle.config = learned.bundle.config.override(["search.max_extra_length=40"])
    text = "a"
    while len(learned.tokenizer.encode(text)) < 20:
        text += " a"
    for kept in (learned.model.source_embedding, learned.model.target_embedding):
        kept.positions = torch.nn.Parameter(kept.positions[:25].detach().clone())
    shorter = learned.bundle.config.model.model_copy(update={"max_positions": 25})
    learned.bundle.config = learned.bundle.config.model_copy(update={"model": shorter})
    data = explorer_data(learned, text, translation=text)
    assert len(data["variants"]) == len(single_switches(learned.model))
    assert all(variant["translation"] for variant in data["variants"].values())
    with pytest.raises(UserError, match="has 22 tokens, the limit of a page is 21"):
        explorer_data(learned, text + " a")


def test_a_page_of_20_tokens_and_6_layers_of_8_heads_is_below_2_mb(monkeypatch):
    monkeypatch.setattr(variant, "MAX_SEARCH_LENGTH", 0)  # saves 150 searches, whose results take 100 bytes each
    translator = random_translator(6, 8, 64, d_k=64, d_v=64)
    text = "a dog runs in the green park the"
    while len(translator.tokenizer.encode(text)) < 19:
        text += " a"
    data = explorer_data(translator, text, translation=text)
    assert len(data["source"]["tokens"]) == len(data["target"]["tokens"]) == 20
    assert len(html(data).encode()) < 2_000_000 - 150 * 100
    assert data["stages"] is not None
    assert "attention" in data["variants"]["scale=off"]
