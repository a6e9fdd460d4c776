"""One update: clipping and the reported gradient norm."""

from __future__ import annotations

import pytest
import torch

from allyouneed.config import load_recipe
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.optimizer import Optimizer
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import TrainingState, update
from tests.training.test_plain import SIZES, VOCABULARY, batch


class NormRecorder(Optimizer):
    """An optimizer that records the norm of the whole gradient."""

    def step(self) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        self.norm = float(torch.nn.utils.get_total_norm(gradients))


def norms(settings: list[str]) -> tuple[float | None, float]:
    """Return the gradient norm of one update, as reported and as received by the optimizer."""
    config = load_recipe("tiny").override([*(f"model.{size}" for size in SIZES), "model.dropout=0", *settings])
    torch.manual_seed(1)
    model = Transformer(config.model, VOCABULARY)
    recorder = NormRecorder(model.parameters(), {"lr": 0.1, "peak": 0.1})
    metrics = update(TrainingState(model, [recorder]), [batch(1)], config.training, plan_for_steps(config), Ranks())
    return metrics.gradient_norm, recorder.norm


def test_only_long_gradients_are_clipped():
    reported, whole = norms(["training.log_every=1"])
    assert reported == pytest.approx(whole)
    assert whole > 0.01
    assert norms([f"training.clip_norm={whole / 4}"]) == pytest.approx((whole, whole / 4), rel=1e-3)
    assert norms([f"training.clip_norm={whole * 4}"]) == pytest.approx((whole, whole))


def test_the_norm_is_computed_only_where_it_is_used():
    assert norms(["training.log_every=2"])[0] is None
