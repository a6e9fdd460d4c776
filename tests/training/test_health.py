"""Skipped updates, their diagnosis, and divergence."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
import torch
from rich.console import Console

from allyouneed import UserError
from allyouneed.config import load_recipe
from allyouneed.json_text import json_line, to_json
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.health import Health, validation_warning
from allyouneed.training.loop import Loop
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import TrainingState, update
from allyouneed.training.train import FINISHED, train
from allyouneed.training.validation import perplexity, show_perplexity
from tests.conftest import silent, toy_request
from tests.training.test_plain import SIZES, VOCABULARY, batch
from tests.training.test_resume import assert_same, crashing_after

NAN, INF = float("nan"), float("inf")


class BrokenElsewhere(Ranks):
    """One of two processes, of which the other has a gradient that is not finite."""

    def sum(self, *numbers: float | torch.Tensor) -> list[float]:
        *rest, broken = super().sum(*numbers)
        return [*rest, broken + 1] if rest else [broken]


def records(run, event: str) -> list[dict]:
    """Read records of the log as strict JSON, which has neither NaN nor Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line, parse_constant=refuse))["event"] == event]


def make_state(settings: list[str]) -> tuple[TrainingState, object]:
    config = load_recipe("tiny").override([*(f"model.{size}" for size in SIZES), *settings])
    torch.manual_seed(1)
    model = Transformer(config.model, VOCABULARY, plain=config.training.plain)
    plan = plan_for_steps(config)
    return TrainingState(model, make_optimizers(model, config.training, plan.learning_rate)), config


@pytest.mark.parametrize(
    "settings", [[], ["training.plain=true"], ["training.optimizer=adam"], ["training.clip_norm=1"]]
)
@pytest.mark.parametrize("value", [NAN, -INF])
def test_a_gradient_that_is_not_finite_reaches_no_optimizer(settings, value):
    state, config = make_state(settings)
    plan = plan_for_steps(config)
    update(state, [batch(1)], config.training, plan, Ranks())
    weights = {name: weight.clone() for name, weight in state.model.named_parameters()}
    moments = [
        tensor.clone() for each in state.optimizers for values in each.state.values() for tensor in values.values()
    ]
    name = "decoder.layers.1.feed_forward.inner.weight"

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.arange(gradient.numel()).view_as(gradient) == 3, value, gradient)

    handle = state.model.get_parameter(name).register_hook(spoil)
    metrics = update(state, [batch(2)], config.training, plan, Ranks())
    handle.remove()
    assert (metrics.skipped, list(metrics.broken), state.step) == (True, [name], 2)
    assert math.isfinite(metrics.loss)
    for name, weight in state.model.named_parameters():
        assert torch.equal(weight, weights[name]), name
    after = [tensor for each in state.optimizers for values in each.state.values() for tensor in values.values()]
    assert all(torch.equal(*pair) for pair in zip(moments, after, strict=True))
    assert not update(state, [batch(2)], config.training, plan, Ranks()).skipped
    assert (state.health.skipped, state.health.skipped_in_a_row) == (1, 0)


def test_all_processes_skip_alike():
    state, config = make_state([])
    before = [weight.clone() for weight in state.model.parameters()]
    assert update(state, [batch(1)], config.training, plan_for_steps(config), BrokenElsewhere()).skipped
    assert all(torch.equal(*pair) for pair in zip(before, state.model.parameters(), strict=True))


def test_a_long_but_finite_gradient_is_not_skipped():
    """The norm of finite values overflows in fp32."""
    state, config = make_state(["training.clip_norm=1"])
    state.model.output.weight.register_hook(lambda gradient: torch.full_like(gradient, 1e30))
    assert not update(state, [batch(1)], config.training, plan_for_steps(config), Ranks()).skipped


def spoiling(steps: set[int], monkeypatch) -> None:
    """Make the gradient NaN at some steps of every run."""
    original = Loop.step

    def step(loop: Loop):
        weight = loop.state.model.decoder.layers[0].feed_forward.inner.weight
        spoiled = loop.state.step + 1 in steps
        handle = weight.register_hook(lambda gradient: gradient * NAN) if spoiled else None
        try:
            return original(loop)
        finally:
            if handle:
                handle.remove()

    monkeypatch.setattr(Loop, "step", step)


def test_skipped_updates_are_logged_and_resume_exactly(tmp_path, monkeypatch):
    spoiling({12, 13, 20}, monkeypatch)
    console = Console(file=io.StringIO(), width=200)
    whole = toy_request(tmp_path / "text", tmp_path / "whole", ["training.log_every=1"])
    train(whole, console)
    parts = toy_request(
        tmp_path / "text", tmp_path / "parts", ["training.log_every=1", "training.save_minutes=0.00001"]
    )
    with crashing_after(12, monkeypatch):
        train(parts, silent())
    outcome = train(parts, silent())
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert outcome.ending == (
        "finished after 40 steps; 3 updates were skipped, because the loss or the gradient was not finite"
    )
    for run in ("whole", "parts"):
        skipped = records(tmp_path / run, "skipped")
        assert [record["step"] for record in skipped] == [12, 13, 20]
        assert skipped[0]["what"] == "gradient"
        assert skipped[0]["parameters"] == ["decoder.layers.0.feed_forward.inner.weight"]
        assert len(skipped[0]["pairs"]) > 10
        for text in skipped[0]["texts"]:
            assert text["target"] == text["source"][::-1]
        page = (tmp_path / run / "report.html").read_text(encoding="utf-8")
        assert "3 updates skipped, because the loss or the gradient was not finite: step 12, 13, 20" in page
        assert [record["step"] for record in records(tmp_path / run, "train")] == list(range(1, 41))
    said = console.file.getvalue()
    assert "step 12: the gradient is not finite, so the update is skipped; the batch has" in said
    assert "step 13: the gradient" not in said  # the first of a row is enough


@pytest.mark.parametrize("plain", ["true", "false"])
def test_a_weight_that_is_nan_ends_training_with_a_diagnosis(tmp_path, monkeypatch, plain):
    original = Loop.step

    def step(loop: Loop):
        if loop.state.step == 6:
            with torch.no_grad():
                loop.state.model.encoder.layers[0].feed_forward.inner.bias[3] = NAN
        return original(loop)

    monkeypatch.setattr(Loop, "step", step)
    settings = [f"training.plain={plain}", "training.max_skipped_steps=4", "training.validate_every=50"]
    module = r"encoder\.layers\.0\.feed_forward\.inner"
    expected = (
        r"training has diverged: .* in 4 updates in a row, up to step 10 .*Weights that are not finite: "
        rf"{module}\.bias \(1 of 64 values\)\. The first output that is not finite is that of {module}\. "
        r"Learning rate: .* \(peak 0\.02\)\. Precision: fp32\. Last finite training loss: 5.*lower training\.learning"
    )
    with pytest.raises(UserError, match=expected):
        train(toy_request(tmp_path / "text", tmp_path / "run", settings), silent())
    assert [record["step"] for record in records(tmp_path / "run", "skipped")] == [7, 8, 9, 10]
    assert records(tmp_path / "run", "skipped")[0]["loss"] is None
    [stop] = records(tmp_path / "run", "stop")
    assert (stop["why"], stop["step"]) == ("diverged", 10)
    assert "Weights that are not finite" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_divergence_with_finite_losses_is_reported(tmp_path):
    """`learning_rate=1000` with Muon: the loss is in the millions, its exponential is infinite."""
    console, run = Console(file=io.StringIO(), width=300), tmp_path / "run"
    outcome = train(toy_request(tmp_path / "text", run, ["training.learning_rate=1000"]), console)
    assert outcome.status == FINISHED
    assert "training has diverged (reported at step 10). Start again with another --out and a lower" in outcome.ending
    assert "the validation loss is" in outcome.ending
    [diverged] = records(run, "diverged")
    assert "above ln(vocabulary) = 5.6" in diverged["why"]
    assert "lower training.learning_rate and training.matrix_learning_rate" in diverged["remedy"]
    said = console.file.getvalue()
    assert "step 10: training has diverged: the training loss is" in said
    assert "  the validation loss is" in said
    assert "perplexity inf" in said
    assert {record["perplexity"] for record in records(run, "validation")} == {None}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "diverged at step 10" in page
    assert "Infinity" not in page
    json.loads((run / "run.json").read_text(), parse_constant=pytest.fail)


def test_a_model_that_does_not_learn_has_not_diverged(tmp_path):
    """A lower learning rate would not help; and the remark about the validation precedes the advice."""
    console, run = Console(file=io.StringIO(), width=300), tmp_path / "run"
    settings = ["training.learning_rate=1e-9", "training.matrix_learning_rate=1e-9"]
    outcome = train(toy_request(tmp_path / "text", run, settings), console)
    said = console.file.getvalue()
    assert "diverged" not in outcome.ending + said
    validated = r"the validation loss is 6\.\d+, above ln\(vocabulary\) = 5\.62, a random guess"
    learned = r"the model has not learned to translate \(reported at step 20\)"
    remedy = "Train longer, or start again with another --out and another training.learning_rate and "
    assert re.match(rf"finished after 40 steps; {validated}; {learned}\. {remedy}", outcome.ending)
    assert [record["step"] for record in records(run, "not_learned")] == [20]
    assert "nothing learned at step 20" in (run / "report.html").read_text(encoding="utf-8")


def test_when_training_counts_as_diverged():
    """ln(100) is 4.6; warm-up takes 10 of 100 steps."""

    def found(*losses: float, step: int) -> str:
        health = Health()
        for loss in losses:
            health.add(loss, skipped=False)
        return health.divergence(step, warmup=10, steps=100, vocab_size=100)

    assert found(9.0, step=5) == ""  # warm-up
    assert found(9.0, 8.9, 8.8, step=15) == ""  # falls, and has only just begun
    assert "above ln(vocabulary) = 4.61" in found(9.0, 8.9, 8.8, step=30)
    assert "above ln(vocabulary) = 4.61" in found(4.0, 90.0, step=12)
    assert found(*[1.0] * 20, *[3.0] * 20, step=40).startswith("the training loss rose from 1 to 2.7")
    assert found(*[1.0, 1.8] * 20, step=40) == ""  # batches differ
    assert found(step=40) == ""


def test_a_high_validation_loss_is_explained():
    overfitted, diverged = Health(smoothed=0.3, lowest=0.3), Health(smoothed=7.0, lowest=3.0)
    assert validation_warning(4.5, diverged, 100) == ""
    assert "the model fits the training text only" in validation_warning(5.0, overfitted, 100)
    expected = "the validation loss is inf, above ln(vocabulary) = 4.61, a random guess"
    assert validation_warning(INF, diverged, 100) == expected
    assert validation_warning(NAN, diverged, 100) == expected.replace("inf", "nan")


def test_perplexity_is_not_capped():
    assert perplexity(60.0) == pytest.approx(1.142e26, rel=1e-3)
    assert perplexity(1000.0) == INF
    assert [show_perplexity(value) for value in (1.25, 12345.6, 1.142e26, INF)] == ["1.2", "12,345.6", "1.1e+26", "inf"]


def test_numbers_that_are_not_finite_are_null_in_json():
    content = {"a": [1.5, NAN, (INF,)], "b": {"c": -INF, "d": "NaN", "e": None}}
    assert json_line(content) == '{"a": [1.5, null, [null]], "b": {"c": null, "d": "NaN", "e": null}}'
    assert json.loads(to_json(content)) == json.loads(json_line(content))
