"""R-Drop and word dropout: the loss by its definition, and which tokens are replaced."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from allyouneed.config import ModelConfig, TrainingConfig, config_from
from allyouneed.data.batches import Batch
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.training import step as step_module
from allyouneed.training.step import batch_loss, seed_step

CPU, VOCABULARY, SMOOTHING = torch.device("cpu"), 48, 0.1
SIZES = ModelConfig(d_model=32, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.3)


@pytest.fixture
def batch():
    torch.manual_seed(3)
    source, target = torch.randint(4, VOCABULARY, (2, 5, 9))
    for ids, lengths in ((source, (9, 4, 6, 1, 8)), (target, (5, 9, 2, 7, 3))):
        for row, length in enumerate(lengths):
            ids[row, length - 1] = EOS
            ids[row, length:] = PAD
    return Batch(source, F.pad(target, (1, 0), value=BOS))


@pytest.fixture
def model():
    torch.manual_seed(4)
    return Transformer(SIZES, VOCABULARY)


@pytest.mark.parametrize("plain", [True, False])
def test_consistency_is_cross_entropy_against_the_other_pass(plain, batch, model, monkeypatch):
    settings = TrainingConfig(consistency_share=0.7, label_smoothing=SMOOTHING, plain=plain)
    seen = []
    forward = step_module._hidden
    monkeypatch.setattr(step_module, "_hidden", lambda *given: seen.append(forward(*given)) or seen[-1])
    model.plain = plain
    seed_step(1, 1, 0)
    loss, nll = batch_loss(model.train(), batch, settings, CPU)
    [(hidden, weight)] = seen
    first, second = (hidden @ weight.T).detach().log_softmax(-1).chunk(2)
    assert (first - second).abs().max() > 0.01  # two dropout masks
    targets = batch.target_output[batch.target_output != PAD]
    labels = F.one_hot(targets, VOCABULARY) * (1 - SMOOTHING) + SMOOTHING / VOCABULARY
    expected = sum(-((0.3 * labels + 0.7 * q.exp()) * p).sum() for p, q in ((first, second), (second, first))) / 2
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nll, (F.nll_loss(first, targets) + F.nll_loss(second, targets)) / 2 * len(targets))
    loss.backward()
    gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    seed_step(1, 1, 0)  # the same masks; the other pass is a constant
    hidden, weight = forward(model, Batch(*(torch.cat([ids, ids]) for ids in batch)), CPU)
    log_p = (hidden @ weight.T).log_softmax(-1)
    (-((0.3 * labels.repeat(2, 1) + 0.7 * torch.cat([second, first]).exp()) * log_p).sum() / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_validation_computes_each_batch_once_and_keeps_all_words(batch, model):
    for settings in (TrainingConfig(), TrainingConfig(consistency_share=0.7), TrainingConfig(word_dropout=0.9)):
        losses = batch_loss(model.eval(), batch, settings, CPU)
        torch.testing.assert_close(losses, batch_loss(model, batch, TrainingConfig(), CPU), rtol=0, atol=0)


def test_word_dropout_replaces_words_of_the_inputs_alone(batch, model, monkeypatch):
    seen = []
    forward = step_module._hidden
    monkeypatch.setattr(
        step_module, "_hidden", lambda model, inputs, _: seen.append(inputs) or forward(model, inputs, CPU)
    )
    seed_step(1, 1, 0)
    _, nll = batch_loss(model.train(), batch, TrainingConfig(word_dropout=0.3), CPU)
    [inputs] = seen
    for given, used in zip(batch, inputs, strict=True):
        replaced = given != used
        assert (used[replaced] == UNK).all()
        assert (given[replaced] > EOS).all()
        assert 0.1 < replaced.sum() / (given > EOS).sum() < 0.5
    assert nll > 0  # predicts the words of the text: UNK among them would be counted as such
    assert not (batch.target_output == UNK).any()


def test_the_same_step_drops_the_same_words(batch, model):
    losses = []
    for _ in range(2):
        seed_step(1, 7, 0)
        losses.append(batch_loss(model.train(), batch, TrainingConfig(word_dropout=0.3, consistency_share=0.5), CPU)[0])
    assert losses[0] == losses[1]


def test_two_soft_targets_exclude_each_other():
    with pytest.raises(UserError, match=r"training\.teacher_share and training\.consistency_share exclude each other"):
        config_from({"training": {"teacher_share": 0.5, "consistency_share": 0.5}}, "recipe")
