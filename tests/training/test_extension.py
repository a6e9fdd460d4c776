"""Runs that become longer: more steps, minutes or patience for the same --out."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil

import pytest
import torch
from rich.console import Console

from allyouneed import UserError
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.snapshots import Snapshots
from allyouneed.training.loop import Loop
from allyouneed.training.planning.schedule import PlanHistory
from allyouneed.training.reporting.outcome import FINISHED, STOPPED_EARLY
from allyouneed.training.resolution.extension import thin_snapshots
from allyouneed.training.train import train
from tests.conftest import silent, toy_request
from tests.training.test_resume import assert_same, crashing_after

FEW = ["training.decay=linear", "training.validate_every=5", "training.average_every=2", "training.bleu_sentences=4"]


def request_of(folder, *settings):
    request = toy_request(folder / "text", folder / "run", [*FEW, *settings])
    lengths = ("training.steps=", "training.minutes=")
    if any(setting.startswith("training.minutes=") for setting in settings):
        return dataclasses.replace(request, settings=[s for s in request.settings if not s.startswith(lengths[0])])
    return request


def longer(request, *settings):
    names = {setting.partition("=")[0] for setting in settings}
    names |= {"training.steps", "training.minutes"} if names & {"training.steps", "training.minutes"} else set()
    kept = [setting for setting in request.settings if setting.partition("=")[0] not in names]
    return dataclasses.replace(request, settings=[*kept, *settings])


def shown_by(request) -> str:
    output = io.StringIO()
    train(request, Console(file=output, width=500))
    return output.getvalue()


def record_of(request):
    return json.loads((request.out / "run.json").read_text())


def events(request, name):
    lines = (json.loads(line) for line in (request.out / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def test_a_finished_run_with_linear_decay_is_extended(tmp_path):
    request = request_of(tmp_path, "training.steps=20", "training.warmup=4", "training.log_every=1")
    train(request, silent())
    shown = shown_by(longer(request, "training.steps=60"))
    assert (
        "extending the run from step 20 to 60; the learning rate rises again to 71 % of its peak until step 22" in shown
    )
    rates = {line["step"]: line["learning_rate"] for line in events(request, "train")}
    assert list(rates) == list(range(1, 61))
    assert rates[20] == 0
    assert rates[22] == pytest.approx(0.005 * 40 / 56, rel=1e-6)  # that of a run planned for 60 steps
    assert rates[41] == pytest.approx(rates[22] / 2, rel=1e-6)
    assert rates[60] == 0
    assert [line["step"] for line in events(request, "validation")] == list(range(5, 61, 5))
    assert record_of(request)["plan"]["steps"] == 60
    assert "is already finished" in shown_by(longer(request, "training.steps=60"))
    page = (request.out / "report.html").read_text()
    assert "resumed at step 20" in page


def test_an_extension_is_resumed_exactly(tmp_path, monkeypatch):
    runs = []
    for name in ("whole", "crashed"):
        request = dataclasses.replace(request_of(tmp_path, "training.steps=10"), out=tmp_path / name)
        train(request, silent())
        request = longer(request, "training.steps=40", "training.save_minutes=0.00001")
        if name == "crashed":
            for step in (11, 17, 33):
                with crashing_after(step, monkeypatch):
                    train(request, silent())
        assert train(request, silent()).status == FINISHED
        runs.append(tmp_path / name)
    assert_same(*runs)


def test_an_unfinished_run_is_extended(tmp_path, monkeypatch):
    request = request_of(tmp_path, "training.steps=40", "training.warmup=4", "training.log_every=1")
    with crashing_after(33, monkeypatch):
        train(request, silent())
    assert "extending the run from step 30 to 80" in shown_by(longer(request, "training.steps=80"))
    rates = [line["learning_rate"] for line in events(request, "train")]
    assert rates[29] == pytest.approx(0.005 * 10 / 36)
    assert rates[29] < rates[30] < rates[31] == pytest.approx(0.005 * 50 / 76)


def test_a_run_without_a_checkpoint_is_planned_anew(tmp_path, monkeypatch):
    request = request_of(tmp_path, "training.steps=40")
    with crashing_after(3, monkeypatch):
        train(request, silent())
    assert "extending" not in shown_by(longer(request, "training.steps=50"))
    assert record_of(request)["plan"]["steps"] == events(request, "stop")[-1]["step"] == 50
    assert "earlier_plans" not in record_of(request)


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_explicit_settings_hold_when_steps_become_minutes(tmp_path):
    """A budget would space validations and snapshots by its speed."""
    request = request_of(tmp_path, "training.steps=20", "training.validate_every=7", "training.average_every=3")
    train(request, silent())
    train(longer(request, "training.minutes=0.05"), silent())
    record = record_of(request)
    plans = [record["plan"], *record["earlier_plans"]]
    assert len(plans) > 1
    assert {(plan["validate_every"], plan["average_every"]) for plan in plans} == {(7, 3)}


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_a_finished_run_gets_more_minutes(tmp_path):
    request = request_of(tmp_path, "training.minutes=0.02")
    train(request, silent())
    before = record_of(request)
    shown = shown_by(longer(request, "training.minutes=0.05"))
    assert f"extending the run from step {before['plan']['steps']:,} to" in shown
    assert "within 0.05 minutes in all" in shown
    after = record_of(request)
    assert after["plan"]["steps"] > before["plan"]["steps"]
    assert after["plan"]["minutes"] == 0.05
    assert after["plan"]["budget"] == pytest.approx(before["plan"]["budget"] + 1.8)
    assert "is already finished" in shown_by(longer(request, "training.minutes=0.05"))


@pytest.mark.usefixtures("toy_run")
def test_steps_and_minutes_may_replace_each_other(tmp_path):
    request = request_of(tmp_path, "training.steps=10")
    train(request, silent())
    train(longer(request, "training.minutes=0.03"), silent())
    steps = events(request, "stop")[-1]["step"]
    assert steps > 10
    again = longer(request, f"training.steps={steps + 10}")
    train(again, silent())
    assert events(request, "stop")[-1]["step"] == steps + 10
    with pytest.raises(UserError, match=rf"steps = {steps + 5:,}, but .* was planned for {steps + 10:,} steps"):
        train(longer(request, f"training.steps={steps + 5}"), silent())


@pytest.mark.usefixtures("toy_run")
@pytest.mark.parametrize(
    ("started", "wanted", "message"),
    [
        (
            "steps=10",
            "steps=9",
            r"training\.steps = 9, but .* was planned for 10 steps: a run can be extended, not",
        ),
        ("minutes=0.02", "minutes=0.01", r"= 0\.01, but .* was planned for 0\.02 minutes: a run can be extended"),
        ("minutes=0.03", "steps=3", r"training\.steps = 3, but .* has taken \d+ steps: a run can be extended"),
        ("steps=10", "minutes=0.00001", r"= 1e-05, but .* has trained for \d\.\d minutes\. Give more minutes"),
    ],
)
def test_a_run_is_not_shortened(started, wanted, message, tmp_path):
    request = request_of(tmp_path, f"training.{started}")
    train(request, silent())
    before = record_of(request)
    with pytest.raises(UserError, match=message):
        train(longer(request, f"training.{wanted}"), silent())
    assert record_of(request) == before
    assert "is already finished" in shown_by(request)


def test_the_bundle_stays_until_the_extension_has_finished(tmp_path, monkeypatch):
    request = request_of(tmp_path, "training.steps=20")
    train(request, silent())
    before = (request.out / "bundle" / "model.safetensors").read_bytes()
    with crashing_after(33, monkeypatch):
        train(longer(request, "training.steps=40"), silent())
    assert (request.out / "bundle" / "model.safetensors").read_bytes() == before
    train(longer(request, "training.steps=40"), silent())
    assert load_bundle(request.out).notes["steps"] == 40


def test_a_harmful_extension_keeps_the_bundle(tmp_path, monkeypatch):
    request = request_of(tmp_path, "training.steps=20", "training.bleu_sentences=0", "training.average_every=1")
    train(request, silent())
    before = weights_of(load_bundle(request.out).model)
    for snapshot in (request.out / "checkpoints").glob("weights-*"):  # the best validation would be a candidate, too
        shutil.rmtree(snapshot)
    step = Loop.step

    def harm(loop):
        metrics = step(loop)
        with torch.no_grad():
            for parameter in loop.state.model.parameters():
                parameter.add_(torch.randn_like(parameter))
        return metrics

    monkeypatch.setattr(Loop, "step", harm)
    shown = shown_by(longer(request, "training.steps=30"))
    assert "the bundle before the extension was better: loss " in shown
    after = load_bundle(request.out)
    assert after.notes["weights"] == "the bundle before the extension"
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(after.model).items())


def test_a_run_that_stopped_early_goes_on(tmp_path):
    hopeless = ["training.learning_rate=1e-9", "training.matrix_learning_rate=1e-9", "training.warmup=1"]
    request = request_of(tmp_path, *hopeless, "training.patience=2", "training.steps=100")
    assert train(request, silent()).status == STOPPED_EARLY
    first = events(request, "stop")[-1]["step"]
    patient = longer(request, "training.patience=4")
    assert train(patient, silent()).status == STOPPED_EARLY
    second = events(request, "stop")[-1]["step"]
    assert second > first
    assert train(longer(patient, "training.steps=200"), silent()).status == STOPPED_EARLY  # patience begins anew
    assert events(request, "stop")[-1]["step"] >= second + 4 * 5


def test_the_film_of_an_extended_run_is_evenly_spaced(tmp_path):
    request = request_of(tmp_path, "training.steps=16", "training.keep_snapshots=5")
    train(request, silent())
    assert Snapshots(request.out / "snapshots").steps() == [0, 1, 4, 9, 16]
    train(longer(request, "training.steps=64"), silent())
    assert Snapshots(request.out / "snapshots").steps() == [0, 4, 16, 36, 64]


def test_snapshots_are_thinned_to_the_nearest(tmp_path):
    kept = Snapshots(tmp_path)
    thin_snapshots(kept, 80, 5, 40)
    for step in (0, 2, 10, 22, 40):
        kept.save(step, torch.nn.Linear(1, 1))
    thin_snapshots(kept, 80, 5, 40)
    assert kept.steps() == [0, 2, 22]


def test_an_old_run_is_extended(tmp_path):
    """Records of earlier versions have neither a base nor later fields of the plan."""
    request = request_of(tmp_path, "training.steps=10")
    train(request, silent())
    record = record_of(request)
    del record["base"], record["checksum"]
    for name in ("top", "validate_from", "validation_cost", "final_cost", "fixed"):
        del record["plan"][name]
    (request.out / "run.json").write_text(json.dumps(record))
    assert train(longer(request, "training.steps=20"), silent()).status == FINISHED
    assert len(PlanHistory.from_dict(record_of(request)).plans) == 2
