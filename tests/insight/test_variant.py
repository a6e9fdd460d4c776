import numpy as np
import pytest
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.coding import EXACT
from allyouneed.insight.variants import variant
from allyouneed.insight.variants.switches import Switches, single_switches
from allyouneed.insight.variants.variant import (
    PADDING,
    TokenPair,
    entropies,
    greedy_length,
    run_pair,
    variant_data,
    variants_data,
)
from allyouneed.translation.search import greedy

TEXT = "a dog runs"


@pytest.fixture
def pair(small):
    return TokenPair([*small.tokenizer.encode(TEXT), EOS], small.tokenizer.encode("the cat"))


def test_predictions_and_translation_equal_the_models(small, pair):
    data = variant_data(small, pair, Switches(), EXACT)
    with torch.no_grad():
        p = small.model(pad([pair.source]), pad([[BOS, *pair.target]]))[0].softmax(-1).numpy()
    given = p[np.arange(len(p)), [*pair.target, EOS]]
    assert data["predictions"]["given"] == pytest.approx(given.tolist(), rel=1e-3)
    assert data["predictions"]["log_p"] == pytest.approx(np.log(given).sum(), abs=1e-3)
    assert [row[0][1] for row in data["predictions"]["top"]] == pytest.approx(p.max(-1).tolist(), rel=1e-3)
    [found] = greedy(small.model, pad([pair.source]), [greedy_length(small, pair)])
    assert data["translation"]["text"] == small.tokenizer.decode(found.ids)
    assert data["translation"]["cut"] == (len(found.ids) == greedy_length(small, pair))
    assert set(data["change"]) == {0}


def test_variant_has_the_share_of_attention_that_is_redistributed(small, pair):
    base = run_pair(small, pair, Switches())
    data = variant_data(small, pair, Switches(scale=False), EXACT, base)
    assert data["key"] == "scale=off"
    assert len(data["change"]) == len(data["entropy"]) == 3 * 2 * 2
    with_scale, without = (
        run_pair(small, pair, switches).recorded.encoder[0][0].numpy()
        for switches in (Switches(), Switches(scale=False))
    )
    moved = np.abs(with_scale - without).sum(-1).mean(-1) / 2
    assert data["change"][:2] == pytest.approx(moved.tolist(), abs=1e-3)
    assert data["entropy"][:2] == pytest.approx(entropies(without[None])[0].tolist(), abs=1e-3)


def test_padding_is_added_if_its_mask_is_off(small, pair):
    data = variant_data(small, pair, Switches(padding_mask=False), EXACT, run_pair(small, pair, Switches()))
    assert data["source_tokens"][-PADDING:] == ["<pad>"] * PADDING
    assert data["attention"]["cross"]["shape"][-1] == len(pair.source) + PADDING


def test_brief_variant(small, pair):
    off = Switches(off=frozenset({("cross", 0, 1)}))
    data = variant_data(small, pair, off, EXACT, run_pair(small, pair, Switches()), brief=True)
    assert "attention" not in data
    assert data["source_tokens"] is None
    assert data["entropy"] is None
    assert data["switches"]["off"] == [["cross", 0, 1]]
    assert max(data["change"]) > 0


def test_batched_variants_equal_single_ones(small, pair, monkeypatch):
    """Hypotheses end at different steps, so some sentences are removed from the batch before others."""
    base = run_pair(small, pair, Switches())
    carried = [*single_switches(small.model), Switches(future_mask=False, off=frozenset({("decoder", 0, 1)}))]
    monkeypatch.setattr(variant, "_BATCH_TOKENS", 5 * len(pair.source))
    found = list(variants_data(small, pair, carried, EXACT, base))
    assert [each["key"] for each in found] == [each.key for each in carried]
    for each, switches in zip(found, carried, strict=True):
        alone = variant_data(small, pair, switches, EXACT, base, brief=bool(switches.off))
        assert each["translation"]["text"] == alone["translation"]["text"]
        assert each["translation"]["score"] == pytest.approx(alone["translation"]["score"], abs=2e-4)
        assert each["change"] == pytest.approx(alone["change"], abs=0.011)
        assert each["predictions"]["log_p"] == pytest.approx(alone["predictions"]["log_p"], abs=2e-4)
    assert len({each["translation"]["text"] for each in found}) > 1


def test_share_of_attention_on_the_keys_that_a_switched_off_mask_hides(small, pair):
    base = run_pair(small, pair, Switches())
    data = {
        name: variant_data(small, pair, Switches(**{name: False}), None, base)
        for name in ("future_mask", "padding_mask")
    }
    length = len(pair.target) + 1
    later = [
        w[i, i + 1 :].sum()
        for w in data["future_mask"]["attention"]["decoder"].reshape(-1, length, length)
        for i in range(length)
    ]
    assert data["future_mask"]["unmasked"] == pytest.approx(np.mean(later), rel=1e-3)
    encoder, cross = (data["padding_mask"]["attention"][kind] for kind in ("encoder", "cross"))
    heads = [w[:-PADDING, -PADDING:].sum(-1).mean() for layer in encoder for w in layer]
    heads += [w[:, -PADDING:].sum(-1).mean() for layer in cross for w in layer]
    assert data["padding_mask"]["unmasked"] == pytest.approx(np.mean(heads), rel=1e-3)
    assert variant_data(small, pair, Switches(scale=False), EXACT, base)["unmasked"] is None
