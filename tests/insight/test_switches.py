"""Each switch, compared with an independent computation of its effect."""

import math

import pytest
import torch

from allyouneed import UserError
from allyouneed.insight.variants.switches import (
    Switches,
    UncachedModel,
    all_heads,
    interventions,
    searchable,
    single_switches,
    switches_from,
)
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty

SOURCE = torch.tensor([[5, 9, 12, 7, 3]])
TARGET = torch.tensor([[2, 8, 11, 6]])


@pytest.fixture
def model(small):
    return small.model


def logits(model, switches, source=SOURCE):
    with torch.no_grad():
        return model(source, TARGET, Probe(interventions=interventions(model, switches)))


def recorded(model, switches, stages=False):
    recorder = AttentionRecorder(stages)
    with torch.no_grad():
        model(SOURCE, TARGET, Probe((recorder,), interventions(model, switches)))
    return recorder


def close(a, b):
    return torch.allclose(a, b, atol=1e-5)


def test_the_default_switches_are_the_model_itself(model):
    with torch.no_grad():
        expected = model(SOURCE, TARGET)
    assert close(logits(model, Switches()), expected)
    assert all(not torch.equal(logits(model, each), expected) for each in single_switches(model) if each.padding_mask)


@pytest.mark.parametrize(("switches", "factor"), [(Switches(scale=False), 1.0), (Switches(temperature=2.0), None)])
def test_scale_and_temperature_change_the_divisor_of_the_scores(model, switches, factor):
    divisor = factor or 2 * math.sqrt(model.config.key_size)
    steps = recorded(model, switches, stages=True).arrays("encoder", 0)[1]
    scores, weights = torch.from_numpy(steps["scores"]), torch.from_numpy(steps["weights"])
    assert close(weights, (scores / divisor).softmax(-1))
    assert not close(weights, (scores / math.sqrt(model.config.key_size)).softmax(-1))


def test_later_tokens_are_visible_only_without_the_future_mask(model):
    for switches, seen in ((Switches(), False), (Switches(future_mask=False), True)):
        later = torch.stack(recorded(model, switches).decoder).triu(1)
        assert bool(later.max() > 0) is seen


def test_padding_matters_only_without_its_mask(model):
    padded = torch.cat([SOURCE, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    expected = logits(model, Switches())
    assert close(logits(model, Switches(), padded), expected)
    assert not close(logits(model, Switches(padding_mask=False), padded), expected)
    assert close(logits(model, Switches(padding_mask=False)), expected)  # a single sentence has no padding


def test_without_positions_the_source_has_no_order(model):
    shuffled = SOURCE[:, [3, 0, 4, 2, 1]]
    bag = Switches(positions=False)
    assert close(logits(model, bag, shuffled), logits(model, bag))
    assert not close(logits(model, Switches(), shuffled), logits(model, Switches()))


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_a_head_that_is_off_equals_zeros_in_its_columns_of_the_output_matrix(model, kind):
    found = logits(model, Switches(off=frozenset({(kind, 1, 0)})))
    layer = (model.encoder if kind == "encoder" else model.decoder).layers[1]
    attention = layer.cross_attention if kind == "cross" else layer.self_attention
    with torch.no_grad():
        attention.output.weight[:, : model.config.value_size] = 0
        assert close(found, model(SOURCE, TARGET))


def test_uncached_decoding_equals_cached_decoding_with_the_future_mask(small):
    longest, penalty = [6], LengthPenalty(0.6)
    cached = beam_search(small.model, SOURCE, longest, 3, penalty, 3)
    uncached = beam_search(UncachedModel(small.model, Probe()), SOURCE, longest, 3, penalty, 3)
    assert [h.ids for h in uncached[0]] == [h.ids for h in cached[0]]
    assert [h.score for h in uncached[0]] == pytest.approx([h.score for h in cached[0]], abs=1e-4)


@pytest.mark.parametrize("future_mask", [True, False])
def test_sentences_of_a_batch_have_different_heads_off(small, future_mask):
    """Sentences end at different steps, so heads must stay with their sentences while the batch shrinks."""
    off = [frozenset(), frozenset({("cross", 1, 0)}), frozenset({("encoder", 0, 1), ("decoder", 1, 1)})]
    switches = [Switches(future_mask=future_mask, off=heads) for heads in off]
    longest = [2, 6, 4]
    together = beam_search(searchable(small.model, switches), SOURCE.expand(3, -1), longest, 2, LengthPenalty(0.6))
    for one, limit, found in zip(switches, longest, together, strict=True):
        [alone] = beam_search(searchable(small.model, [one]), SOURCE, [limit], 2, LengthPenalty(0.6))
        assert [h.ids for h in found] == [h.ids for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-4)


def test_keys_and_json(model):
    switches = Switches(scale=False, temperature=0.5, off=frozenset({("cross", 1, 0), ("cross", 0, 1)}))
    assert switches.key == "scale=off,temperature=0.5,off=cross.0.1,off=cross.1.0"
    assert switches_from(switches.as_json(), model) == switches
    assert switches_from({}, model) == Switches()
    assert len({each.key for each in single_switches(model)}) == len(all_heads(model)) + 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scael": True}, "unknown name 'scael'"),
        ({"scale": 1}, "scale must be true or false"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"off": [["cross", 9, 0]]}, "heads of this model"),
        ({"off": [[["cross"], 0, 0]]}, "heads of this model"),
        ({"off": "cross"}, "heads of this model"),
    ],
)
def test_invalid_switches(model, values, message):
    with pytest.raises(UserError, match=message):
        switches_from(values, model)
