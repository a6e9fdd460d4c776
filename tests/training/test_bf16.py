"""Training with bf16 products on a processor with AMX or AVX512_BF16."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from allyouneed.config import load_recipe
from allyouneed.data.batches import Batch
from allyouneed.model.transformer import Transformer
from allyouneed.training.step import batch_loss
from allyouneed.training.train import train
from tests.conftest import TOY, silent, toy_request
from tests.training.test_resume import assert_same, crashing_after, losses

CPU = torch.device("cpu")


@pytest.mark.parametrize("vocab_size", [300, 304])  # the size of our own bf16 products is a multiple of 16
def test_loss_and_gradients_are_close_to_fp32(bf16, vocab_size):
    torch.manual_seed(0)
    config = load_recipe("tiny").override(TOY)
    model = Transformer(config.model, vocab_size)
    source, target = (torch.randint(4, vocab_size, (20, length)) for length in (8, 9))
    found = []
    for precision in ("fp32", "bf16"):
        training = config.override([f"training.precision={precision}"]).training
        torch.manual_seed(1)  # of dropout
        loss, _ = batch_loss(model, Batch(source, target), training, CPU)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        found.append((loss, torch.cat([gradient.flatten() for gradient in gradients])))
    (exact, gradient), (rounded, other) = found
    torch.testing.assert_close(rounded, exact, rtol=2e-4, atol=0)
    assert rounded != exact
    assert (gradient - other).norm() < 0.05 * gradient.norm()


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_resuming_is_exact(bf16, tmp_path, monkeypatch, optimizer):
    settings = ["training.precision=bf16", "training.bleu_sentences=0", f"training.optimizer={optimizer}"]
    whole = toy_request(tmp_path / "text", tmp_path / "whole", settings)
    train(whole, silent())
    resumed = dataclasses.replace(whole, out=tmp_path / "resumed")
    with crashing_after(17, monkeypatch):
        train(resumed, silent())
    train(resumed, silent())
    assert_same(tmp_path / "resumed", tmp_path / "whole")
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")
