"""Replaced activations: everything, nothing, one cell by hand, rows of a batch, and cached decoding."""

import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.model.masks import future_mask, padding_mask
from allyouneed.model.probe import Interventions, Probe, Replacement, StateRecorder
from allyouneed.model.transformer import Transformer
from tests.model.oracles import close

SOURCES = torch.tensor([[5, 6, 7, 8, 3], [5, 9, 7, 10, 3]])
TARGET = torch.tensor([[2, 11, 12, 13]])


@pytest.fixture(params=["post", "pre"])
def model(request):
    torch.manual_seed(1)
    config = ModelConfig(
        d_model=16, d_ff=24, num_heads=2, d_v=5, encoder_layers=2, decoder_layers=2, dropout=0.0, norm=request.param
    )
    return Transformer(config, 20).eval()


def recorded(model, source):
    recorder = StateRecorder()
    return model(source, TARGET, Probe((recorder,))), recorder.sites


def replacing(places):
    return Probe(interventions=Interventions(replaced=places))


def whole(x):
    return Replacement(torch.ones(1, *x.shape[1:-1], dtype=torch.bool), x)


@pytest.mark.parametrize("name", ["heads", "output", "result"])
def test_replacing_everything_gives_the_other_pass_and_nothing_changes_nothing(model, name):
    """The second source with all activations of the first."""
    (one, donor), (other, _) = (recorded(model, source[None]) for source in SOURCES)
    assert not close(one, other)
    places = {(site, name): whole(states[name]) for site, states in donor.items() if name in states}
    embedded = {(("source", 0), "result"): whole(donor["source", 0]["result"])}
    feed_forward = {(site, "output"): whole(x["output"]) for site, x in donor.items() if "feed-forward" in site[0]}
    assert torch.equal(model(SOURCES[1:], TARGET, replacing({**embedded, **feed_forward, **places})), one)
    nothing = {place: Replacement(torch.zeros_like(each.chosen), each.values) for place, each in places.items()}
    assert torch.equal(model(SOURCES[1:], TARGET, replacing(nothing)), other)


def test_one_head_at_one_position_equals_a_pass_written_by_hand(model):
    (_, donor), (_, mine) = (recorded(model, source[None]) for source in SOURCES)
    values = donor["encoder", 1]["heads"]
    chosen = torch.zeros(1, 2, 5, dtype=torch.bool)
    chosen[0, 1, 3] = True
    found = model(SOURCES[1:], TARGET, replacing({(("encoder", 1), "heads"): Replacement(chosen, values)}))
    layer, before = model.encoder.layers[1], mine["encoder feed-forward", 0]["result"]
    concat = torch.cat([mine["encoder", 1]["heads"][0, head] for head in range(2)], dim=-1)
    concat[3, 5:] = values[0, 1, 3]  # d_v is 5
    attended = concat @ layer.self_attention.output.weight.T
    norms = [residual.norm for residual in layer.residuals]
    if model.config.norm == "pre":
        middle = before[0] + attended
        end = middle + layer.feed_forward(norms[1](middle))
    else:
        middle = norms[0](before[0] + attended)
        end = norms[1](middle + layer.feed_forward(middle))
    memory = model.encoder.norm(end)[None]
    x = model.target_embedding(TARGET)
    for decoder_layer in model.decoder.layers:
        x = decoder_layer(x, memory, future_mask(4), padding_mask(SOURCES[1:], 0))
    assert close(found, model.output(model.decoder.norm(x)))


def test_rows_of_a_batch_are_replaced_separately(model):
    (_, donor), (other, _) = (recorded(model, source[None]) for source in SOURCES)
    place, values = (("cross", 1), "output"), donor["cross", 1]["output"]
    chosen = torch.zeros(3, 4, dtype=torch.bool)
    chosen[1, 2] = chosen[2, 0] = True
    batch = model(SOURCES[1:].expand(3, -1), TARGET.expand(3, -1), replacing({place: Replacement(chosen, values)}))
    assert close(batch[:1], other)
    for row in (1, 2):
        alone = model(SOURCES[1:], TARGET, replacing({place: Replacement(chosen[row : row + 1], values)}))
        assert close(batch[row : row + 1], alone)
        assert not close(batch[row : row + 1], other)
    picked = Interventions(replaced={place: Replacement(chosen, values)}).select(torch.tensor([2, 1]))
    assert torch.equal(picked.replaced[place].chosen, chosen[[2, 1]])
    again = model(SOURCES[1:].expand(2, -1), TARGET.expand(2, -1), Probe(interventions=picked))
    assert close(again, batch[[2, 1]])


def test_cached_decoding_step_by_step_agrees_with_the_whole_prefix(model):
    _, donor = recorded(model, SOURCES[:1])
    places = {}
    for site, name in ((("decoder", 0), "heads"), (("cross", 1), "output"), (("target", 0), "result")):
        chosen = torch.rand(2, *donor[site][name].shape[1:-1]) > 0.5
        places[site, name] = Replacement(chosen, donor[site][name] + 1)
    changes = Interventions(replaced=places)
    sources, targets = SOURCES[1:].expand(2, -1), TARGET.expand(2, -1)
    expected = model(sources, targets, Probe(interventions=changes))
    cache = model.start(sources, Probe(interventions=changes))
    for position in range(4):
        logits = model.decode_step(targets[:, position], cache, Probe(interventions=changes.at(position)))
        assert close(logits, expected[:, position])


def test_observers_see_the_replaced_tensor(model):
    _, donor = recorded(model, SOURCES[:1])
    recorder = StateRecorder("output", "result")
    sites = [("encoder", 0), ("cross", 1), ("decoder feed-forward", 0)]
    places = {(site, "output"): whole(donor[site]["output"] + 2) for site in sites}
    places[("encoder feed-forward", 1), "result"] = whole(donor["encoder", 0]["result"])
    model(SOURCES[1:], TARGET, Probe((recorder,), Interventions(replaced=places)))
    for (site, name), replacement in places.items():
        assert torch.equal(recorder.sites[site][name], replacement.values)
