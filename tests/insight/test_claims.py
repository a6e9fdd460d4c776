"""What the page says about each switch holds for every one of 40 sentences of a trained model."""

import math

import pytest
import torch

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.insight.variants.switches import Switches, interventions
from allyouneed.model.probe import AttentionRecorder, Probe
from tests.conftest import toy_pairs
from tests.insight.conftest import random_translator

PAIRS = [pair for pair in toy_pairs(80, seed=11) if len(pair[0]) > 3][:40]


@pytest.fixture(scope="module", params=range(0, 40, 10))
def sentences(translator, request):
    """Source ids with EOS and target inputs with BOS, ten sentences at a time."""
    encode = translator.tokenizer.encode, translator.tokenizer.target.encode
    pairs = PAIRS[request.param : request.param + 10]
    return [(torch.tensor([[*encode[0](a), EOS]]), torch.tensor([[BOS, *encode[1](b)]])) for a, b in pairs]


def run(translator, source, target, switches=Switches(), stages=False):  # noqa: B008
    recorder = AttentionRecorder(stages)
    with torch.no_grad():
        logits = translator.model(source, target, Probe((recorder,), interventions(translator.model, switches)))
    return logits, recorder


def exchanged(ids, first, second):
    found = ids.clone()
    found[0, [first, second]] = ids[0, [second, first]]
    return found


def test_without_positions_the_source_has_no_order_but_the_target_does(translator, sentences):
    """Exchanging source tokens changes nothing; exchanging target inputs changes the predictions."""
    off = Switches(positions=False)
    for source, target in sentences:
        base = run(translator, source, target, off)[0]
        different = [i for i in range(1, source.shape[1] - 1) if source[0, i] != source[0, 0]]
        if different:
            swapped = exchanged(source, 0, different[0])
            torch.testing.assert_close(run(translator, swapped, target, off)[0], base, atol=2e-5, rtol=0)
            assert (run(translator, swapped, target)[0] - run(translator, source, target)[0]).abs().max() > 1e-3
        if target.shape[1] > 3 and target[0, 1] != target[0, 2]:
            other = run(translator, source, exchanged(target, 1, 2), off)[0]
            assert (other[0, 1] - base[0, 1]).abs().max() > 1e-3


def test_with_two_layers_and_no_positions_the_last_prediction_depends_on_the_order_of_the_target():
    """In one layer, the last position sees a set; the states of the positions before it carry their order upwards."""
    deep = random_translator(2, 2, 16)
    source, target = torch.tensor([[7, 9, 12, EOS]]), torch.tensor([[BOS, 8, 11, 6]])
    base, other = (run(deep, source, x, Switches(positions=False))[0][0, -1] for x in (target, exchanged(target, 1, 2)))
    assert (other - base).abs().max() > 1e-3


def test_without_positions_and_without_the_future_mask_the_target_has_no_order(translator, sentences):
    """It is the mask that carries the order: without it, exchanged inputs only exchange their states."""
    off = Switches(positions=False, future_mask=False)
    for source, target in sentences:
        if target.shape[1] > 3:
            base, other = (run(translator, source, x, off)[0] for x in (target, exchanged(target, 1, 2)))
            torch.testing.assert_close(other[0, -1], base[0, -1], atol=2e-5, rtol=0)


def test_padding_changes_nothing_with_its_mask_and_gets_attention_without(translator, sentences):
    off = Switches(padding_mask=False)
    for source, target in sentences:
        padded = torch.cat([source, torch.full((1, 4), PAD)], dim=1)
        base = run(translator, source, target)[0]
        with_mask, recorded = run(translator, padded, target)
        torch.testing.assert_close(with_mask, base, atol=2e-5, rtol=0)
        assert all(layer[..., -4:].max() == 0 for layer in [*recorded.cross, *recorded.encoder])
        without, recorded = run(translator, padded, target, off)
        assert all(layer[..., -4:].min() > 0 for layer in [*recorded.cross, *recorded.encoder])
        assert (without - base).abs().max() > 1e-4
        torch.testing.assert_close(run(translator, source, target, off)[0], base, atol=2e-5, rtol=0)


def test_in_decoding_the_newest_position_sees_the_same_tokens_but_earlier_states_change(translator, sentences):
    off = Switches(future_mask=False)
    for source, target in sentences:
        with_mask, masked = run(translator, source, target)
        _, unmasked = run(translator, source, target, off)
        torch.testing.assert_close(unmasked.decoder[0][0, :, -1], masked.decoder[0][0, :, -1], atol=1e-6, rtol=0)
        shorter = target[:, :-1]
        torch.testing.assert_close(run(translator, source, shorter)[0], with_mask[:, :-1], atol=2e-5, rtol=0)
        before, after = (run(translator, source, x, off)[0][:, : shorter.shape[1]] for x in (shorter, target))
        assert (after - before).abs().max() > 1e-4


def test_without_the_scale_scores_are_larger_by_the_square_root_for_the_same_queries_and_keys(translator, sentences):
    """It holds in the first layer; the inputs of later layers differ."""
    root = math.sqrt(translator.model.config.key_size)
    for source, target in sentences:
        with_scale, without = (
            run(translator, source, target, Switches(scale=scale), stages=True)[1].arrays("encoder", 0)[0]
            for scale in (True, False)
        )
        scores = torch.from_numpy(with_scale["scores"])
        torch.testing.assert_close((scores / root).softmax(-1), torch.from_numpy(with_scale["weights"]))
        torch.testing.assert_close(scores.softmax(-1), torch.from_numpy(without["weights"]))


def test_a_low_temperature_sharpens_and_a_high_one_flattens_the_same_scores(translator, sentences):
    for source, target in sentences:
        low, one, high = (
            torch.special.entr(run(translator, source, target, Switches(temperature=x))[1].encoder[0]).sum(-1)
            for x in (0.5, 1.0, 2.0)
        )
        assert bool((low < one).all())
        assert bool((one < high).all())
