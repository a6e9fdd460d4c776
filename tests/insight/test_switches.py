"""Each switch against something that gives the same in another way."""

import math

import pytest
import torch

from allyouneed import UserError
from allyouneed.insight.switches import Rereading, Switches, all_heads, single_switches, switched, switches_from
from allyouneed.model.probe import attentions, record_attention
from allyouneed.translation.beam_search import beam_search

SOURCE = torch.tensor([[5, 9, 12, 7, 3]])
TARGET = torch.tensor([[2, 8, 11, 6]])


@pytest.fixture
def model(small):
    return small.model


def logits(model, switches, source=SOURCE):
    with torch.no_grad(), switched(model, switches):
        return model(source, TARGET)


def close(a, b):
    return torch.allclose(a, b, atol=1e-5)


def test_all_on_is_the_model_itself_and_afterwards_everything_is_as_it_was(model):
    with torch.no_grad():
        expected = model(SOURCE, TARGET)
    assert close(logits(model, Switches()), expected)
    for switches in single_switches(model):
        logits(model, switches)
    with torch.no_grad():
        assert torch.equal(model(SOURCE, TARGET), expected)
    with pytest.raises(RuntimeError), switched(model, Switches(positions=False)):
        raise RuntimeError
    assert not any(attention.explicit for kind in attentions(model).values() for attention, _ in kind)
    assert not model.source_embedding.placeless


@pytest.mark.parametrize(("switches", "factor"), [(Switches(scale=False), 1.0), (Switches(temperature=2.0), None)])
def test_scale_and_temperature_change_the_divisor_of_the_scores(model, switches, factor):
    divisor = factor or 2 * math.sqrt(model.config.key_size)
    with torch.no_grad(), switched(model, switches), record_attention(model, stages=True) as recorded:
        model(SOURCE, TARGET)
    steps = recorded.stages["encoder"][1].steps
    assert close(steps.weights, (steps.scores / divisor).softmax(-1))
    assert not close(steps.weights, (steps.scores / math.sqrt(model.config.key_size)).softmax(-1))


def test_without_the_future_mask_later_words_are_seen_and_only_then(model):
    for switches, seen in ((Switches(), False), (Switches(future_mask=False), True)):
        with torch.no_grad(), switched(model, switches), record_attention(model) as recorded:
            model(SOURCE, TARGET)
        later = torch.stack(recorded.decoder).triu(1)
        assert bool(later.max() > 0) is seen


def test_padding_changes_nothing_with_its_mask_and_something_without(model):
    padded = torch.cat([SOURCE, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    expected = logits(model, Switches())
    assert close(logits(model, Switches(), padded), expected)
    assert not close(logits(model, Switches(padding_mask=False), padded), expected)
    assert close(logits(model, Switches(padding_mask=False)), expected)  # a sentence alone has none


def test_without_positions_the_source_is_a_bag_of_words(model):
    shuffled = SOURCE[:, [3, 0, 4, 2, 1]]
    bag = Switches(positions=False)
    assert close(logits(model, bag, shuffled), logits(model, bag))
    assert not close(logits(model, Switches(), shuffled), logits(model, Switches()))


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_a_head_that_is_off_is_one_whose_part_of_the_output_matrix_is_zero(model, kind):
    found = logits(model, Switches(off=frozenset({(kind, 1, 0)})))
    attention, _ = attentions(model)[kind][1]
    with torch.no_grad():
        attention.output.weight[:, : model.config.value_size] = 0
        assert close(found, model(SOURCE, TARGET))


def test_reading_anew_is_decoding_with_a_cache_as_long_as_the_future_is_hidden(small):
    longest, alpha = [6], 0.6
    cached = beam_search(small.model, SOURCE, longest, 3, alpha, 3)
    anew = beam_search(Rereading(small.model), SOURCE, longest, 3, alpha, 3)
    assert [h.ids for h in anew[0]] == [h.ids for h in cached[0]]
    assert [h.score for h in anew[0]] == pytest.approx([h.score for h in cached[0]], abs=1e-4)


def test_keys_and_json(model):
    switches = Switches(scale=False, temperature=0.5, off=frozenset({("cross", 1, 0), ("cross", 0, 1)}))
    assert switches.key == "scale=off,temperature=0.5,off=cross.0.1,off=cross.1.0"
    assert switches_from(switches.as_json(), model) == switches
    assert switches_from({}, model) == Switches()
    assert len({each.key for each in single_switches(model)}) == len(all_heads(model)) + 6


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"scael": True}, "there is no 'scael'"),
        ({"scale": 1}, "scale is true or false"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"off": [["cross", 9, 0]]}, "heads of this model"),
        ({"off": [[["cross"], 0, 0]]}, "heads of this model"),
        ({"off": "cross"}, "heads of this model"),
    ],
)
def test_switches_that_make_no_sense(model, facts, message):
    with pytest.raises(UserError, match=message):
        switches_from(facts, model)
