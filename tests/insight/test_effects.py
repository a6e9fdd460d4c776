"""Effects of the switches over a set of sentences, compared with decoding and with autograd on single sentences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.errors import UserError
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.variants import effects, scale_gradients
from allyouneed.insight.variants.effects import EffectText, affordable, effect_text, effects_data
from allyouneed.insight.variants.scale_gradients import gradient_norms
from allyouneed.insight.variants.switches import Switches, interventions, searchable, single_switches
from allyouneed.insight.variants.variant import PADDING, max_translation_length
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.translation.search import greedy
from tests.conftest import toy_pairs, write_pairs
from tests.insight.conftest import random_translator

TEXT = EffectText(
    [("a dog runs", "the cat"), ("two words, and more.", "a red chair on"), ("한국어 문장 하나", "a")], "own"
)


@pytest.fixture(scope="module")
def measured(translator):
    text = EffectText(toy_pairs(12, seed=5), "toy", given=True)
    return text, effects_data(translator, text)


def assert_greedy_decoding_agrees(translator, text, data):
    model, tokenizer = translator.model, translator.tokenizer
    for switches in (each for each in single_switches(model) if not each.off):
        changed = 0
        for source, _ in text.pairs:
            ids = [*tokenizer.encode(source), EOS]
            longest = [max_translation_length(translator, ids)]
            padded = ids + [PAD] * (0 if switches.padding_mask else PADDING)
            found = greedy(searchable(model, [switches]), torch.tensor([padded]), longest)
            base = greedy(searchable(model, [Switches()]), torch.tensor([ids]), longest)
            changed += found[0].ids != base[0].ids
        assert data["variants"][switches.key]["changed"] == changed, switches.key
    assert max(each["changed"] for each in data["variants"].values()) > 0


def test_changed_translations_are_those_of_greedy_decoding(translator, measured):
    assert_greedy_decoding_agrees(translator, *measured)
    assert measured[1]["sentences"] == 12


def test_changed_translations_that_end_at_the_length_limit():
    """A model with random weights rarely predicts the end, so the limit ends its translations."""
    untrained = random_translator(1, 2, 16)
    assert_greedy_decoding_agrees(untrained, TEXT, effects_data(untrained, TEXT))


def test_means_are_those_of_single_sentences(translator, measured):
    text, data = measured
    model, tokenizer = translator.model, translator.tokenizer
    for switches in (Switches(), *(each for each in single_switches(model) if not each.off)):
        log_p, tokens, entropy, norms = 0.0, 0, [], []
        for source, reference in text.pairs:
            ids = [*tokenizer.encode(source), EOS, *[PAD] * (0 if switches.padding_mask else PADDING)]
            target = [*tokenizer.target.encode(reference), EOS]
            recorder = AttentionRecorder()
            with torch.no_grad():
                probe = Probe((recorder,), interventions(model, switches))
                p = model(torch.tensor([ids]), torch.tensor([[BOS, *target[:-1]]]), probe)[0].double().softmax(-1)
            log_p += sum(math.log(p[i, token]) for i, token in enumerate(target))
            tokens += len(target)
            real = len(tokenizer.encode(source)) + 1
            for kind in ("encoder", "decoder", "cross"):
                for layer in recorder.weights(kind):
                    for row in layer[0, :, : real if kind == "encoder" else None].double().flatten(0, 1):
                        entropy.append(-sum(x * math.log(x) for x in row.tolist() if x > 0))
                        norms.append(float(torch.linalg.norm(torch.diag(row) - torch.outer(row, row))))
        found = data["base"] if switches == Switches() else data["variants"][switches.key]
        assert found["log_p"] == pytest.approx(log_p / tokens, abs=2e-4)
        assert found["entropy"] == pytest.approx(np.mean(entropy), abs=2e-4)
        assert found["jacobian"] == pytest.approx(np.mean(norms), abs=2e-4)
    assert data["tokens"] == tokens


@pytest.mark.parametrize("scale", [True, False])
def test_gradients_equal_finite_differences_and_whole_backward_passes(small, scale):
    """Compare with `backward` for every head's W^Q and W^K, and with a numerical derivative along one direction."""
    model = small.model.double()
    pairs = [([7, 9, 12, EOS], [8, 6, EOS]), ([5, EOS], [11, 12, 13, 9, EOS]), ([20, 4, EOS], [5, EOS])]
    norms, loss = gradient_norms(model, pairs, Switches(scale=scale))
    probe = Probe(interventions=interventions(model, Switches(scale=scale)))

    def whole_loss():
        sums = sum(
            F.nll_loss(
                model(torch.tensor([source]), torch.tensor([[BOS, *target[:-1]]]), probe)[0].log_softmax(-1),
                torch.tensor(target),
                reduction="sum",
            )
            for source, target in pairs
        )
        return sums / sum(len(target) for _, target in pairs)

    model.zero_grad()
    found = whole_loss()
    found.backward()
    assert loss == pytest.approx(float(found.detach()), rel=1e-5)
    layers = [*model.encoder.layers, *model.decoder.layers]
    attentions = [layer.self_attention for layer in layers] + [x.cross_attention for x in model.decoder.layers]
    expected = [
        math.sqrt(
            sum(float((weight.grad.chunk(2)[head] ** 2).sum()) for weight in (each.query.weight, each.key.weight))
        )
        for each in attentions
        for head in range(2)
    ]
    assert norms == pytest.approx(expected, rel=1e-6)
    weight, step = attentions[-1].query.weight, 1e-5
    direction = weight.grad / weight.grad.norm()
    with torch.no_grad():
        weight += step * direction
        above = float(whole_loss())
        weight -= 2 * step * direction
        slope = (above - float(whole_loss())) / (2 * step)
    assert slope == pytest.approx(float(weight.grad.norm()), rel=1e-4)


def test_gradients_of_a_model_with_random_weights_are_those_before_training(small):
    found = effects_data(small, TEXT)["gradients"]
    assert len(found["trained"]["scale"]) == len(found["initial"]["no_scale"]) == 3 * 2 * 2
    vocabulary = small.model.vocab_size
    assert found["initial"]["loss"][0] == pytest.approx(math.log(vocabulary), rel=0.5)


def test_large_models_are_measured_on_fewer_sentences(small, monkeypatch):
    pairs = effects._encoded(small, EffectText(TEXT.pairs * 10, "own"))
    assert affordable(small.model, pairs) == 30
    monkeypatch.setattr(effects, "_BUDGET", 1)
    assert affordable(small.model, pairs) == 4
    assert effects_data(small, EffectText(TEXT.pairs * 10, "own"))["sentences"] == 4
    assert effects_data(small, EffectText(TEXT.pairs * 10, "own", given=True))["sentences"] == 30
    monkeypatch.setattr(scale_gradients, "LARGEST", 10)
    assert effects_data(small, TEXT)["gradients"]["initial"] is None


def test_where_the_text_comes_from(translator, toy_run, tmp_path):
    own = effect_text(toy_run)
    assert (own.name, own.given) == ("valid", False)
    assert own.pairs
    assert effect_text(toy_run / "bundle") is None
    files = write_pairs(tmp_path, "test", toy_pairs(3))
    assert effect_text(toy_run / "bundle", files).pairs == toy_pairs(3)
    data = explorer_data(translator, "a b", [], effect_text=own)
    assert data["effects"]["name"] == "valid"
    assert explorer_data(translator, "a b", [])["effects"] is None
    assert effects_data(translator, EffectText([("a " * 500, "b")], "long")) is None
    with pytest.raises(UserError, match="long: no sentence pair can be measured"):
        effects_data(translator, EffectText([("a " * 500, "b")], "long", given=True))
    with pytest.raises(
        UserError, match=r"test\.src: 3 of 3 lines have no tab, so this is one side"
    ):  # one file is a table
        effect_text(toy_run, files[:1])
