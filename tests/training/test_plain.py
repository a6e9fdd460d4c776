"""The fast paths against the plain twin, and the flag that switches them off."""

import pytest
import torch

from allyouneed.config import load_recipe
from allyouneed.data.batches import Batch
from allyouneed.model.plain import use_plain_paths
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed import Ranks
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.schedule import plan_for_steps
from allyouneed.training.step import TrainingState, update

SIZES = ("d_model=64", "d_ff=96", "num_heads=2", "encoder_layers=2", "decoder_layers=2")
VOCABULARY = 203


def batch(seed: int) -> Batch:
    """Sentences of 3 to 40 words, their ends marked."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for first in (None, 2):
        rows = []
        for _ in range(24):
            length = int(torch.randint(3, 41, (), generator=generator))
            words = torch.randint(4, VOCABULARY, (length,), generator=generator)
            rows.append(torch.cat([torch.tensor([first] if first else [], dtype=torch.long), words, torch.tensor([3])]))
        sides.append(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True))
    return Batch(*sides)


def losses(settings: list[str], steps: int, taught: bool = False) -> list[tuple[float, float]]:
    config = load_recipe("tiny").override([f"model.{size}" for size in SIZES]).override(settings)
    torch.manual_seed(1)
    model = Transformer(config.model, VOCABULARY)
    teacher = Transformer(config.model, VOCABULARY).eval() if taught else None
    if config.training.plain:
        for one in (model, teacher) if teacher else (model,):
            use_plain_paths(one)
    plan = plan_for_steps(config)
    state = TrainingState(model, make_optimizers(model, config.training, plan.learning_rate), teacher=teacher)
    found = []
    for step in range(steps):
        metrics = update(state, [batch(step)], config.training, plan, Ranks())
        found.append((metrics.loss, metrics.nll))
    return found


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_same_losses_for_twenty_steps(optimizer, norm):
    the_same_losses(optimizer, norm)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_same_losses_by_our_own_products(optimizer, norm, own_products):
    the_same_losses(optimizer, norm, "model.attention_bias=true")


def the_same_losses(optimizer: str, norm: str, *more: str) -> None:
    of_model = ("model.dropout=0", f"model.norm={norm}", *more)
    settings = [*of_model, f"training.optimizer={optimizer}", "training.steps=20"]
    fast, plain = (losses([*settings, *more], 20) for more in ([], ["training.plain=true"]))
    for ours, twin in zip(fast, plain, strict=True):
        assert ours == pytest.approx(twin, rel=2e-5)
    assert fast[-1][0] < fast[0][0] - 0.1  # it did learn


def test_the_same_losses_beside_a_teacher():
    settings = ["model.dropout=0", "training.steps=20", "training.teacher_share=0.7"]
    fast, plain = (losses([*settings, *more], 20, taught=True) for more in ([], ["training.plain=true"]))
    for ours, twin in zip(fast, plain, strict=True):
        assert ours == pytest.approx(twin, rel=2e-5)
    assert fast[-1][0] < fast[0][0] - 0.1
    assert fast[0] != pytest.approx(losses(settings, 1)[0], rel=1e-3)


def test_with_dropout_both_learn_alike():
    """Other random numbers, the same distribution: after 30 steps on one batch the losses are near each other."""
    settings = ["model.dropout=0.3", "training.steps=30"]
    fast, plain = (losses([*settings, *more], 30)[-1][0] for more in ([], ["training.plain=true"]))
    assert fast == pytest.approx(plain, abs=0.1)
