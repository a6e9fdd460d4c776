"""The identity of a run: what a repeated command may change, and what it may not."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from allyouneed import UserError
from allyouneed.data.corpora import corpus
from allyouneed.training.loop import Loop
from allyouneed.training.train import FINISHED, train
from tests.compat import POST_NORM
from tests.conftest import TOY, silent, toy_pairs, toy_request, write_pairs
from tests.training.test_resume import _Crash, crashing_after

SETTINGS = ["training.steps=4", "training.validate_every=4", "training.log_every=2", "training.bleu_sentences=2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with settings from a recipe file and from the command; tests must copy it to change it."""
    folder = tmp_path_factory.mktemp("identity")
    recipe = folder / "mine.toml"
    recipe.write_text("# My recipe\n[training]\nseed = 3\nwarmup = 2\n\n[model]\ndropout = 0.2\n")
    request = dataclasses.replace(
        toy_request(folder / "text", folder / "run"), recipe=str(recipe), settings=[*without(TOY, "warmup"), *SETTINGS]
    )
    train(request, silent())
    return request


def without(settings, name):
    return [setting for setting in settings if f".{name}=" not in setting]


def shown_by(request) -> str:
    output = io.StringIO()
    train(request, Console(file=output, width=500))
    return output.getvalue()


def assert_same_run(request) -> None:
    assert "is already finished" in shown_by(request)


def test_comments_and_order_in_a_recipe_do_not_count(finished, tmp_path):
    recipe = tmp_path / "other name.toml"
    recipe.write_text("[model]\ndropout=2e-1   # more\n[training]\nwarmup = 2.0\nseed = 3\nlearning_rate = 0.005\n")
    assert_same_run(dataclasses.replace(finished, recipe=str(recipe)))


def test_values_may_move_between_recipe_and_command(finished):
    given = ["model.dropout=0.20", "training.warmup=2", "training.seed=3", *finished.settings]
    assert_same_run(dataclasses.replace(finished, recipe="base", settings=given))


def test_the_order_and_the_notation_of_overrides_do_not_count(finished):
    last = dict(setting.split("=") for setting in finished.settings)
    last |= {"training.steps": " 0.4e1", "training.bleu_sentences": "+2"}
    settings = [f"{name}={value}" for name, value in sorted(last.items(), reverse=True)]
    assert_same_run(dataclasses.replace(finished, settings=["training.seed=9", *settings, "training.seed=3"]))


@pytest.mark.parametrize("pack", [shutil.copyfile, gzip])
def test_files_may_be_renamed_and_compressed(finished, pack, tmp_path):
    moved = []
    for path in finished.train[0].paths:
        moved.append(tmp_path / f"moved{path.suffix}{'.gz' if pack is gzip else ''}")
        moved[-1].write_bytes(gzip.compress(path.read_bytes()) if pack is gzip else path.read_bytes())
    assert_same_run(dataclasses.replace(finished, train=[corpus(*moved)]))


def test_a_compressed_file_may_be_decompressed(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", SETTINGS)
    packed = []
    for path in request.train[0].paths:
        packed.append(path.with_name(f"{path.name}.gz"))
        packed[-1].write_bytes(gzip.compress(path.read_bytes(), mtime=1))
    train(dataclasses.replace(request, train=[corpus(*packed)]), silent())
    assert_same_run(request)
    for path in packed:
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=2))
    assert_same_run(dataclasses.replace(request, train=[corpus(*packed)]))


def test_the_start_may_be_given_by_another_path(tmp_path, monkeypatch):
    settings = [*SETTINGS, "training.batch_tokens=400", "training.warmup=2"]
    request = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "run"), recipe=None, settings=settings, start_from=POST_NORM
    )
    train(request, silent())
    shutil.copytree(POST_NORM, tmp_path / "copy" / "bundle")
    monkeypatch.chdir(tmp_path)
    for path in ("copy", "copy/bundle", os.path.relpath(POST_NORM)):
        assert_same_run(dataclasses.replace(request, start_from=Path(path)))


def test_minutes_are_numbers(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.minutes=0.05", *SETTINGS[1:]])
    request = dataclasses.replace(request, settings=without(request.settings, "steps"))
    train(request, silent())
    for minutes in ("0.050", "5e-2"):
        assert_same_run(
            dataclasses.replace(
                request, settings=[*request.settings[:-4], f"training.minutes={minutes}", *SETTINGS[1:]]
            )
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.seed=4"], r"run was started with training\.seed = 3, now 4\. Repeat the original command"),
        (["model.norm=pre", "training.seed=4"], r"model\.norm = post, now pre; training\.seed = 3, now 4\. Repeat"),
        (["training.optimizer=muon"], r"training\.optimizer = adam, now muon"),
        (["data.max_length=39"], r"data\.max_length = 40, now 39"),
    ],
)
def test_what_differs_is_named_with_both_values(finished, changes, message):
    with pytest.raises(UserError, match=message):
        train(dataclasses.replace(finished, settings=[*finished.settings, *changes]), silent())


def test_a_removed_override_is_a_change(finished):
    with pytest.raises(UserError, match=r"was started with data\.max_length = 40, now 256\."):
        train(dataclasses.replace(finished, settings=without(finished.settings, "max_length")), silent())


def test_another_recipe_is_named_by_its_settings(finished):
    with pytest.raises(UserError, match=r"with model\.norm = post, now pre; .* and \d+ more settings\. Repeat"):
        train(dataclasses.replace(finished, recipe="fast"), silent())
    with pytest.raises(UserError, match=r"was started with --recipe = .*mine\.toml, now none"):
        train(dataclasses.replace(finished, recipe=None), silent())


def test_languages_and_text_are_named(finished, tmp_path):
    with pytest.raises(UserError, match=r"--from = aa, now cc; --to = bb, now aa\."):
        train(dataclasses.replace(finished, languages=("cc", "aa")), silent())
    other = write_pairs(tmp_path, "train", toy_pairs(50, seed=9))
    with pytest.raises(UserError, match=r"--train = train\.src, train\.tgt, now the same with other content\."):
        train(dataclasses.replace(finished, train=[corpus(*other)]), silent())
    with pytest.raises(UserError, match=r"--train = train\.src, train\.tgt, now train\.src, train\.tgt, train\.src"):
        train(dataclasses.replace(finished, train=[*finished.train, corpus(*other)]), silent())
    with pytest.raises(UserError, match=r"--weights = 1, now 2\."):
        train(dataclasses.replace(finished, train=[dataclasses.replace(finished.train[0], weight=2.0)]), silent())


def test_settings_without_effect_on_the_weights_may_change(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run", SETTINGS)
    with crashing_after(2, monkeypatch):
        train(request, silent())
    changes = ["training.save_minutes=1", "training.log_every=1", "training.keep_snapshots=2", "search.beam_size=2"]
    shown = shown_by(dataclasses.replace(request, settings=[*request.settings, *changes]))
    for line in (
        "training.save_minutes = 1.0 from now on, instead of 5.0",
        "search.beam_size = 2 from now on, instead of 4",
    ):
        assert line in shown
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["finished"]["valid"]["beam_size"] == 2
    assert record["config"]["training"]["log_every"] == 1
    assert sorted(path.name for path in (tmp_path / "run" / "snapshots").iterdir()) == [
        "weights-00000000",
        "weights-00000004",
    ]


def test_a_finished_run_is_scored_again_with_other_search_settings(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run", SETTINGS)
    train(request, silent())
    monkeypatch.setattr(Loop, "step", lambda loop: (_ for _ in ()).throw(_Crash))
    again = dataclasses.replace(request, settings=[*request.settings, "search.beam_size=1"])
    assert "the finished run is scored again" in shown_by(again)
    facts = json.loads((tmp_path / "run" / "bundle" / "config.json").read_text())
    assert (facts["scores"]["valid"]["beam_size"], facts["config"]["search"]["beam_size"]) == (1, 1)
    assert_same_run(again)


def test_a_chosen_recipe_is_not_chosen_again(tmp_path, monkeypatch):
    """A faster machine, or another number of minutes, would choose a larger model."""
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run", SETTINGS), recipe=None)
    train(request, silent())
    monkeypatch.setattr("allyouneed.training.resolution.choice.choose_size", lambda *_: (_ for _ in ()).throw(_Crash))
    assert_same_run(request)


def as_earlier_version(run: Path) -> None:
    """Rewrite a record as versions without `base` wrote it."""
    record = json.loads((run / "run.json").read_text())
    del record["checksum"], record["base"], record["config"]["training"]["freeze"]
    (run / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("recipe", ["tiny", None])
def test_runs_of_earlier_versions_are_resumed(recipe, tmp_path):
    request = dataclasses.replace(toy_request(tmp_path / "text", tmp_path / "run", SETTINGS), recipe=recipe)
    train(request, silent())
    as_earlier_version(tmp_path / "run")
    assert_same_run(request)
    with pytest.raises(UserError, match=r"was started with training\.seed = 1, now 2"):
        train(dataclasses.replace(request, settings=[*request.settings, "training.seed=2"]), silent())


def test_before_the_first_step_any_change_is_accepted(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run", SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("allyouneed.training.train.agreed_plans", lambda *_: (_ for _ in ()).throw(_Crash))
        with pytest.raises(_Crash):
            train(request, silent())
    made = (tmp_path / "run" / "data" / "tokenizer.model").stat().st_mtime_ns
    assert (
        train(dataclasses.replace(request, settings=[*request.settings, "training.seed=2"]), silent()).status
        == FINISHED
    )
    assert (tmp_path / "run" / "data" / "tokenizer.model").stat().st_mtime_ns == made  # prepared once
