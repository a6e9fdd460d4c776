"""Training: files of a run, plans, and invalid requests."""

from __future__ import annotations

import dataclasses
import io
import json
import re

import pytest
import torch
from rich.console import Console

from allyouneed import Translator, UserError
from allyouneed.config import load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.files import read_sealed
from allyouneed.snapshots import Snapshots
from allyouneed.training.average import average
from allyouneed.training.planning.schedule import Speed, TrainingPlan
from allyouneed.training.resolution.identity import identity
from allyouneed.training.resolution.size import choose_size, matrix_flops, training_flops
from allyouneed.training.train import FINISHED, train
from tests.conftest import TOY, silent, toy_pairs, toy_request, write_pairs


def test_files_of_a_run(toy_run):
    assert {p.name for p in (toy_run / "bundle").iterdir()} == {
        "README.md", "config.json", "manifest.json", "model.safetensors", "samples.json", "tokenizer.model",
    }  # fmt: skip
    page = (toy_run / "report.html").read_text(encoding="utf-8")
    assert "aa → bb" in page
    assert "<svg" in page
    suffixes = {path.suffix for path in (toy_run / "checkpoints").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".safetensors"}
    facts = json.loads((toy_run / "bundle" / "config.json").read_text())
    assert "tok:13a" in facts["scores"]["valid"]["bleu_signature"]


def test_records_of_the_log(toy_run):
    records = [json.loads(line) for line in (toy_run / "log.jsonl").read_text().splitlines()]
    by_event = {}
    for record in records:
        by_event.setdefault(record["event"], []).append(record)
    assert by_event["plan"][0]["steps"] == 40
    assert [record["step"] for record in by_event["train"]] == [10, 20, 30, 40]
    assert [record["step"] for record in by_event["validation"]] == [15, 30, 40]
    assert by_event["validation"][0]["samples"][0].keys() == {"source", "reference", "hypothesis"}
    assert by_event["stop"][-1]["why"] == FINISHED
    first, last = by_event["train"][0]["nll"], by_event["train"][-1]["nll"]
    assert last < first


def test_the_bundle_is_the_average_or_the_best_snapshot(toy_run):
    chosen = json.loads((toy_run / "run.json").read_text())["finished"]["weights"]
    assert chosen.startswith(("average of steps 20, 25, 30, 35, 40", "step "))
    kept = sorted(p.name for p in (toy_run / "checkpoints").glob("weights-*"))
    assert set(kept) >= {f"weights-{step:08d}" for step in (20, 25, 30, 35, 40)}


def test_tensorboard_is_written_where_installed(toy_run):
    pytest.importorskip("tensorboard")
    assert list((toy_run / "tensorboard").iterdir())


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_plans_for_minutes_are_stored(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.minutes=0.05"])
    settings = [setting for setting in request.settings if not setting.startswith("training.steps")]
    request = dataclasses.replace(request, settings=settings)
    train(request, silent())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    plan = facts["plan"]
    assert plan["decay"] == "linear"
    assert plan["minutes"] == 0.05
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    by_event = {record["event"]: record for record in records}
    assert by_event["stop"]["step"] == plan["steps"]
    assert {name: by_event["plan"][name] for name in plan} == plan
    assert len([record for record in records if record["event"] == "plan"]) == 1 + len(facts.get("earlier_plans", ()))


def test_a_budget_used_up_by_preparing_the_text(tmp_path):
    """Training takes place nonetheless, and the cause is named."""
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.minutes=0.0001"])
    settings = [setting for setting in request.settings if not setting.startswith("training.steps")]
    console = Console(file=io.StringIO())
    assert train(dataclasses.replace(request, settings=settings), console).status == FINISHED
    assert re.search(r"preparing the text took \S+ of the 0\.0001 minutes", console.file.getvalue())
    assert stored_plan(tmp_path / "run")["steps"] >= 10


def test_a_run_cannot_be_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/run: not a directory"):
        train(toy_request(tmp_path / "text", tmp_path / "file" / "run"), silent())


def test_the_reference_implementation_trains_alike(tmp_path):
    """Losses agree without dropout; bleu_sentences = 0 computes no BLEU."""
    losses = []
    for name, more in (("fast", []), ("plain", ["training.plain=true"])):
        settings = ["model.dropout=0", "training.bleu_sentences=0", *more]
        request = toy_request(tmp_path / "text", tmp_path / name, settings)
        assert train(request, silent()).status == FINISHED
        records = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        losses.append([record["nll"] for record in records if record["event"] == "train"])
        assert "bleu" not in next(record for record in records if record["event"] == "validation")
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # 40 steps amplify rounding, see test_plain.py


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_a_wrong_measurement_of_the_speed_is_corrected(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.planning.agreement.measure", lambda loop, seconds: Speed(1.0, 0.01, 0.1))
    request = toy_request(
        tmp_path / "text", tmp_path / "run", ["training.minutes=0.1", "training.validate_every=3", "training.warmup=1"]
    )
    settings = [setting for setting in request.settings if not setting.startswith("training.steps")]
    train(dataclasses.replace(request, settings=settings), silent())
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    plans = [record for record in records if record["event"] == "plan"]
    assert plans[0]["steps"] < 12
    assert plans[-1]["steps"] > 16  # a step takes about 0.02 seconds, on a busy machine half a second
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert stored["steps"] == plans[-1]["steps"] == next(r["step"] for r in records if r["event"] == "stop")


def test_pre_norm_and_muon(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["model.norm=pre", "training.optimizer=muon"])
    assert train(request, silent()).status == FINISHED
    assert Translator.load(tmp_path / "run").translate(["a b"])


def test_a_recipe_is_chosen_if_none_is_named(tmp_path):
    files = write_pairs(tmp_path / "text", "train", toy_pairs(300))
    request = dataclasses.replace(
        toy_request(tmp_path / "x", tmp_path / "run"), train=[corpus(*files)], valid=None, recipe=None, settings=TOY
    )
    assert train(request, silent()).status == FINISHED


def test_a_larger_corpus_and_more_time_give_a_larger_model(monkeypatch):
    monkeypatch.setattr("allyouneed.training.resolution.size.matrix_flops", lambda device: 3e11)
    cpu = torch.device("cpu")
    assert choose_size(30_000, 30, cpu).recipe == "tiny"
    assert choose_size(500_000, 10, cpu).recipe == "tiny"
    assert choose_size(500_000, 600, cpu).recipe == "small"
    monkeypatch.setattr("allyouneed.training.resolution.size.matrix_flops", lambda device: 4e13)
    assert choose_size(4_500_000, 6 * 60, cpu).recipe == "base"
    assert choose_size(4_500_000, 3 * 24 * 60, cpu).recipe == "big"
    small = choose_size(3_000, 5, cpu)
    assert small.config.data.vocab_size == 1000
    assert "3,000 pairs" in small.reason


def test_flops_of_the_papers_base():
    base = load_recipe("base").model
    weights = 6 * (4 * 512**2 + 2 * 512 * 2048) + 6 * (8 * 512**2 + 2 * 512 * 2048) + 512 * 37_000
    assert training_flops(base, 37_000) == 6 * weights
    assert matrix_flops(torch.device("cpu"), size=64) > 0


def test_a_folder_with_other_files_is_refused(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "text")
    with pytest.raises(UserError, match="contains files that do not belong to a run"):
        train(request, silent())
    (tmp_path / "text" / ".lock").touch()  # other programs also use this name
    with pytest.raises(UserError, match="contains files that do not belong to a run"):
        train(request, silent())
    assert len(list((tmp_path / "text").iterdir())) == 5


def test_a_run_killed_while_its_first_file_was_written_starts_over(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=1"])
    request.out.mkdir()
    (request.out / ".lock").touch()
    (request.out / "run.json.unfinished").write_text('{"asked')
    train(request, silent())
    assert not list(request.out.glob("*.unfinished"))


def test_steps_override_a_recipes_minutes(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[training]\nminutes = 60\n")
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run"), recipe=str(recipe))
    assert train(request, silent()).status == FINISHED
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["steps"] == 40


def stored_plan(run):
    return json.loads((run / "run.json").read_text())["plan"]


def test_explicit_values_hold_for_steps(tmp_path):
    """`training.warmup=4000` for 20 steps used to become 5; values of the package's recipes still fit themselves."""
    console = Console(file=io.StringIO())
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=20", "training.warmup=4000"])
    train(request, console)
    assert stored_plan(tmp_path / "run")["warmup"] == 4000
    assert "training.warmup = 4,000 is not shorter than the 20 steps" in console.file.getvalue()
    settings = [each for each in request.settings if not each.startswith("training.warmup")]
    train(dataclasses.replace(request, out=tmp_path / "other", settings=settings), silent())
    assert stored_plan(tmp_path / "other")["warmup"] == 5  # from the 800 of `tiny`


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_explicit_values_hold_for_minutes(tmp_path):
    """Values of the user's own recipe file and of `--set` are kept; the rest fits the budget."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[training]\nminutes = 0.04\nwarmup = 77\ndecay = "inverse_sqrt"\naverage_every = 3\n')
    kept = ("training.steps", "training.warmup", "training.average_every", "training.validate_every")
    request = toy_request(tmp_path / "text", tmp_path / "run")
    settings = [*(each for each in request.settings if not each.startswith(kept)), "training.validate_every=17"]
    train(dataclasses.replace(request, recipe=str(recipe), settings=settings), silent())
    plan = stored_plan(tmp_path / "run")
    expected = {"warmup": 77, "decay": "inverse_sqrt", "average_every": 3, "validate_every": 17, "learning_rate": 0.005}
    assert {name: plan[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (
            "",
            ["training.minutes=5", "training.minutes=7"],
            r"training\.minutes \(--minutes\) is given twice, as 5 and 7",
        ),
        ("", ["training.minutes=5", "training.steps=9"], "steps and training.minutes are both given"),
        ("steps = 9\nminutes = 5", [], r"mine\.toml: training\.steps and training\.minutes are both given"),
    ],
)
def test_contradictory_durations_are_refused(tmp_path, recipe, settings, message):
    (tmp_path / "mine.toml").write_text(f"[training]\n{recipe}\n")
    request = toy_request(tmp_path / "text", tmp_path / "run")
    own = [each for each in request.settings if not each.startswith("training.steps")]
    request = dataclasses.replace(request, recipe=str(tmp_path / "mine.toml"), settings=[*own, *settings])
    with pytest.raises(UserError, match=message):
        train(request, silent())


def test_divergence_is_a_user_error(tmp_path):
    plan = TrainingPlan(40, warmup=10, decay="inverse_sqrt", learning_rate=1e30, validate_every=15, average_every=5)
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run"), plan=plan)
    with pytest.raises(UserError, match=r"diverged.*lower training\.learning_rate"):
        train(request, silent())


def test_the_same_folder_can_be_used_after_a_mistake(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    good = request.train[0].paths[1].read_text()
    request.train[0].paths[1].write_text(good[:-6])
    with pytest.raises(UserError, match="not parallel"):
        train(request, silent())
    request.train[0].paths[1].write_text(good)
    assert train(request, silent()).status == FINISHED


def test_recipe_files_are_compared_by_their_settings(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[training]\nseed = 3\n")
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run"), recipe=str(recipe))
    train(request, silent())
    recipe.write_text("[training]\nseed = 4\n")
    with pytest.raises(UserError, match=r"was started with training\.seed = 3, now 4"):
        train(request, silent())


def test_missing_files_are_reported_first(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    request.train[0].paths[1].unlink()
    with pytest.raises(UserError, match=r"train\.tgt: no such file"):
        train(request, silent())
    request.train[0].paths[1].mkdir()
    with pytest.raises(UserError, match=r"train\.tgt: not a regular file"):
        train(request, silent())


def test_the_shortest_run_has_a_record(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=3", "training.log_every=50"])
    train(request, silent())
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    [only] = [record for record in records if record["event"] == "train"]
    assert only["step"] == 3
    assert only["gradient_norm"] > 0


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget starts
def test_a_steady_plan_is_not_corrected(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.planning.agreement.measure", lambda loop, seconds: Speed(1.0, 0.01, 0.1))
    settings = [setting for setting in TOY if not setting.startswith("training.steps")]
    settings += ["training.minutes=0.1", "training.validate_every=3", "training.warmup=1"]
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run"), settings=settings, steady=True)
    train(request, silent())
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    [plan] = [record for record in records if record["event"] == "plan"]
    assert plan["budget"] is None
    assert next(record["step"] for record in records if record["event"] == "stop") == plan["steps"] < 12


def test_a_record_of_another_version_is_refused(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=3"])
    train(request, silent())
    record = tmp_path / "run" / "run.json"
    facts = read_sealed(record, dict, "")[0]
    record.with_name("run.json.copy").unlink()
    for plan in ({**facts["plan"], "cosine": 1}, 5):
        record.write_text(json.dumps({**facts, "plan": plan}))
        with pytest.raises(UserError, match=r"run\.json: plan.*Restore the file from a backup"):
            train(request, silent())


def test_a_recipe_name_takes_precedence_over_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = toy_request(tmp_path / "text", tmp_path / "run")
    before = identity(request)
    (tmp_path / "tiny").write_text("notes")
    assert identity(request) == before
    assert before["recipe"] == "tiny"


def test_the_average_is_the_mean_of_its_snapshots(tmp_path):
    snapshots, linear = Snapshots(tmp_path), torch.nn.Linear(2, 3)
    expected = {name: torch.zeros_like(p) for name, p in linear.named_parameters()}
    for step in (5, 10, 15):
        with torch.no_grad():
            for name, parameter in linear.named_parameters():
                parameter.fill_(step)
                expected[name] += parameter / 3
        snapshots.save(step, linear)
    torch.testing.assert_close(average(snapshots, [5, 10, 15]), expected)
    snapshots.prune(until=12, keep=[5])
    assert snapshots.steps(until=20) == [5, 15]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"needs about \S+ GB of memory even with one sentence at a time"),
        (["training.micro_batches=1"], r"needs at least \d+ GB of memory, and cpu has \d+ GB"),
    ],
)
def test_a_model_larger_than_the_memory_is_refused(tmp_path, settings, message):
    """A valid size that exceeds the memory of the machine."""
    settings = ["model.d_ff=1048576", "model.encoder_layers=1000", *settings]
    request = toy_request(tmp_path / "text", tmp_path / "run", settings)
    with pytest.raises(UserError, match=message):
        train(request, silent())
