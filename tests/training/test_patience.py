"""The metric of quality, patience, and the description of an early stop."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

import allyouneed
from allyouneed import UserError
from allyouneed.config import Config
from allyouneed.training.patience import count_validation, describe_early_stop, is_out_of_patience, metric_of
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.reporting.outcome import headline
from allyouneed.training.step import TrainingState
from allyouneed.training.train import train
from tests.conftest import silent, toy_request

PLAN = TrainingPlan(400, warmup=100, decay="linear", learning_rate=0.1, validate_every=15, average_every=5)
SCORES = {"bleu_signature": "b", "chrf_signature": "c"}


def counted(metric: str, *validations: tuple[int, float, float]) -> list[int]:
    """Return `validations_without_gain` after each validation, given as step, loss and score."""
    state, found = TrainingState(torch.nn.Linear(1, 1), []), []  # type: ignore[arg-type]
    for step, loss, score in validations:
        state.step = step
        count_validation(state, {"loss": loss, "bleu": score, "chrf": score}, metric, PLAN)
        found.append(state.validations_without_gain)
    return found


def test_validations_count_from_the_end_of_warm_up():
    assert counted("bleu", (15, 3.0, 9.0), (99, 3.0, 8.0), (100, 3.0, 8.0), (115, 3.0, 8.0)) == [0, 0, 1, 2]


def test_a_falling_loss_counts_as_progress_while_translations_are_useless():
    """The issue's run: BLEU 0 while the loss fell from 7.30 to 6.36."""
    falling = [(100 + step, 7.3 - 0.05 * step, 0.0) for step in range(6)]
    assert counted("bleu", *falling) == [0, 0, 0, 0, 0, 0]
    assert counted("chrf", *[(step, loss, 12.0 - step / 1000) for step, loss, _ in falling]) == [0] * 6
    flat = [(100 + step, 7.3 - 0.001 * step, 0.0) for step in range(4)]
    assert counted("bleu", *flat) == [0, 1, 2, 3]
    useful = [(100 + step, 3.0 - 0.1 * step, 20.0) for step in range(4)]
    assert counted("bleu", *useful) == [0, 1, 2, 3]


def test_slow_progress_adds_up():
    """Each validation improves by less than noise, several by more."""
    slow = [(100 + step, 7.3 - 0.004 * step, 0.0) for step in range(7)]
    assert counted("bleu", *slow) == [0, 1, 2, 0, 1, 2, 0]


def test_loss_as_the_metric():
    assert counted("loss", (100, 3.0, 50.0), (115, 2.9, 0.0), (130, 2.95, 60.0), (145, 2.8, 0.0)) == [0, 0, 1, 0]


def test_a_loss_that_is_not_finite_is_never_the_best():
    state = TrainingState(torch.nn.Linear(1, 1), [], step=200)  # type: ignore[arg-type]
    assert not count_validation(state, {"loss": float("nan"), "bleu": 3.0}, "bleu", PLAN)
    assert state.best == {}
    training = Config().replace(training={"patience": 1}).training
    assert describe_early_stop(state, training, PLAN) == (
        "stopped early at step 200 of 400: 1 validation without a better BLEU (training.patience = 1)"
    )


def test_the_metric_is_the_loss_without_translations():
    config = Config().replace(training={"quality": "chrf"})
    assert metric_of(config.training) == "chrf"
    assert metric_of(config.replace(training={"bleu_sentences": 0}).training) == "loss"
    with pytest.raises(UserError, match=r"training\.quality = wer"):
        Config().override(["training.quality=wer"])


def test_a_metric_without_translations_is_refused(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.quality=chrf", "training.bleu_sentences=0"])
    with pytest.raises(
        UserError, match=r"training\.quality = chrf needs translations, but training\.bleu_sentences = 0"
    ):
        train(request, silent())


def test_no_patience_never_ends():
    state = TrainingState(torch.nn.Linear(1, 1), [], validations_without_gain=10**6)  # type: ignore[arg-type]
    assert not is_out_of_patience(state, Config().training)


@pytest.mark.parametrize(
    ("metric", "lines"),
    [
        ("bleu", ["validation BLEU 31.2  b"]),
        ("chrf", ["validation chrF 55.1  c", "validation BLEU 31.2  b"]),
        ("loss", ["validation loss 1.500, perplexity 4.5", "validation BLEU 31.2  b"]),
    ],
)
def test_the_headline_begins_with_the_metric(metric, lines):
    assert headline({"bleu": 31.2, "chrf": 55.1, "loss": 1.5, **SCORES}, metric).splitlines() == lines


def test_a_headline_with_a_loss_that_is_not_finite():
    assert headline({"bleu": 0.0, "loss": None, "chrf": 0.0, **SCORES}, "loss").startswith("validation loss is not fin")


def test_an_early_stop_is_said_everywhere(tmp_path):
    """Terminal, log, report, Python result, and the same command again."""
    settings = [f"training.{each}=1e-9" for each in ("learning_rate", "matrix_learning_rate")]
    settings += ["training.patience=2", "training.steps=400", "training.validate_every=15", "training.quality=chrf"]
    request = toy_request(tmp_path / "text", tmp_path / "run", settings)
    console = Console(file=io.StringIO(), width=200)
    outcome = train(request, console)
    best = max(record["chrf"] for record in records(tmp_path / "run", "validation"))
    expected = f"stopped early at step 45 of 400: 2 validations without a better chrF than {best:.1f} at step 15"
    assert outcome.ending.startswith(f"{expected} (training.patience = 2)")
    [stop] = records(tmp_path / "run", "stop")
    assert (stop["why"], stop["ending"]) == ("stopped early", outcome.ending)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert expected in page
    assert page.index("chrF, valid") < page.index("BLEU, valid")
    again = train(request, silent())
    assert (again.status, again.ending, again.headline) == (outcome.status, outcome.ending, outcome.headline)
    assert outcome.headline.startswith("validation chrF")
    result = allyouneed.train(
        source="aa",
        target="bb",
        train=[str(path) for path in request.train[0].paths],
        valid=[str(path) for path in request.valid[0].paths],
        out=request.out,
        recipe=request.recipe,
        settings=list(request.settings),
        quiet=True,
    )
    assert (result.stopped_early, result.ending) == (True, outcome.ending)


def test_the_last_lines_of_the_terminal(tmp_path, command):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=4"])
    files = [[str(path) for path in corpora[0].paths] for corpora in (request.train, request.valid)]
    arguments = ["train", "--from", "aa", "--to", "bb", "--train", *files[0], "--valid", *files[1]]
    settings = [part for each in request.settings for part in ("--set", each)]
    code, _, said = command(*arguments, "--out", tmp_path / "run", "--recipe", "tiny", *settings)
    assert code == 0
    assert said.splitlines()[-5].startswith("finished after 4 steps; the validation loss is ")  # untrained
    assert said.splitlines()[-4].startswith("validation BLEU")


def records(run, event: str) -> list[dict]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == event]
