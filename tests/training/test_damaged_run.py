"""Damaged files of a RUN: a flipped bit or a missing end is found before it changes a result; the remedies work."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from allyouneed.errors import DamagedFile, UserError
from allyouneed.exchange.verification import verify_checksums
from allyouneed.training.loop import Loop
from allyouneed.training.request import Request
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.train import train
from tests.conftest import silent, toy_request

SETTINGS = ["training.steps=8", "training.average=2", "training.average_every=2", "training.validate_every=3"]
SETTINGS += ["training.keep_snapshots=2", "training.save_minutes=1e-9", "training.bleu_sentences=2"]
REFUSED = ("train/target.ids", "train/source.offsets", "valid/source.ids", "train/store.json", "corpus.json")
REFUSED += ("valid.json", "tokenizer.model")


class _Crash(Exception):
    """Simulated crash of the process."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A folder with text, a finished run and an interrupted one, which must be copied before they are changed."""
    folder = tmp_path_factory.mktemp("damaged")
    finished = toy_request(folder / "text", folder / "finished", SETTINGS)
    train(finished, silent())
    step = Loop.step

    def crash(loop: Loop):
        if loop.state.step == 7:
            raise _Crash
        return step(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "step", crash)
        with pytest.raises(_Crash):
            train(toy_request(folder / "text", folder / "half", SETTINGS), silent())
    return folder / "text", folder / "finished", folder / "half"


@pytest.fixture
def half(runs, tmp_path) -> Request:
    """The command that resumes a copy of the interrupted run."""
    shutil.copytree(runs[2], tmp_path / "run")
    return toy_request(runs[0], tmp_path / "run", SETTINGS)


def flip(path: Path, seed: int = 1) -> None:
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def resume(request: Request) -> str:
    out = io.StringIO()
    train(request, Console(file=out, width=1000))
    return out.getvalue()


def weights(run: Path) -> bytes:
    return (run / "bundle" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("which", [1, 2])
def test_check_names_every_damaged_file(runs, tmp_path, which):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    shutil.copytree(runs[which], run)
    verify_checksums(run)
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.name not in (".lock", "README.md")]
    assert len(files) > 30
    for number, path in enumerate(files):
        content = path.read_bytes()
        for damage in ("flip", "cut"):
            flip(path, number) if damage == "flip" else path.write_bytes(content[: len(content) * 2 // 3])
            if path.read_bytes() != content:
                with pytest.raises(UserError, match=f"{path}: "):
                    verify_checksums(run)
        path.write_bytes(content)
    verify_checksums(run)


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_text_is_refused(half, name):
    flip(half.out / "data" / name)
    with pytest.raises(DamagedFile, match=rf"data/{name}: .* Delete {half.out}/data and run the same command again"):
        train(half, silent())


def test_text_that_is_prepared_again_continues_exactly(runs, half):
    shutil.rmtree(half.out / "data")
    resume(half)
    assert weights(half.out) == weights(runs[1])


def test_other_text_than_that_trained_on_is_refused(half):
    RunRecord(half.out / "run.json").update(prepared="0" * 64)
    with pytest.raises(UserError, match=r"data: differs from the text that the run was trained on"):
        train(half, silent())


def test_what_training_does_not_need_does_not_stop_it(runs, half):
    """The record has a copy; the rest is written for readers."""
    for name in ("run.json", "log.jsonl", "bundle/config.json", "data/dropped.tsv"):
        flip(half.out / name)
    events = sorted((half.out / "tensorboard").glob("*"))
    for path in events:
        flip(path)
    shown = resume(half)
    assert f"Its copy {half.out}/run.json.copy replaces it." in shown
    assert "log.jsonl was damaged or incomplete, and is restored from" in shown
    assert weights(half.out) == weights(runs[1])
    with pytest.raises(UserError, match=r"dropped\.tsv") as error:
        verify_checksums(half.out)
    assert "run.json" not in str(error.value)


@pytest.mark.parametrize("name", ["run.json", "run.json.copy"])
def test_a_record_or_copy_that_is_missing_is_restored(runs, half, name):
    (half.out / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing.* To restore it from its copy, run the"):
        verify_checksums(half.out)
    assert "resuming at step 7" in resume(half)
    assert (half.out / name).exists()
    assert weights(half.out) == weights(runs[1])


def test_a_folder_of_unknown_files_with_the_copy_of_a_record_is_a_run(half):
    (half.out / "run.json").rename(half.out / "RUN.JSON")
    assert "resuming at step 7" in resume(half)


@pytest.mark.parametrize("name", ["run.json", "bundle"])
def test_a_finished_run_does_not_accept_the_bundle_of_a_backup(runs, half, tmp_path, name):
    """The record of the finished run in a backup of the unfinished one, or the bundle of the backup in the run."""
    run = tmp_path / "mixed"
    older, newer = half.out, runs[1]
    shutil.copytree(older if name == "run.json" else newer, run)
    if name == "run.json":
        shutil.copy(newer / name, run)
    else:
        shutil.rmtree(run / name)
        shutil.copytree(older / name, run / name)
    with pytest.raises(UserError, match=r"bundle: not the bundle with which the run has finished\. To write it again"):
        verify_checksums(run)
    shown = resume(toy_request(runs[0], run, SETTINGS))
    assert "bundle: not the bundle with which the run has finished. It is written again from the snapshots." in shown
    assert weights(run) == weights(runs[1])


def test_a_record_and_its_copy_that_are_damaged_are_named(half):
    for name in ("run.json", "run.json.copy"):
        flip(half.out / name)
    with pytest.raises(DamagedFile, match=r"run\.json: .* Restore the file from a backup"):
        train(half, silent())


def test_a_damaged_snapshot_is_left_out_of_the_average(half):
    flip(half.out / "checkpoints" / "weights-00000006" / "model.safetensors")
    shown = resume(half)
    assert "the snapshot of step 6 is left out: " in shown
    assert "weights-00000006/model.safetensors: truncated or changed" in shown
    report = (half.out / "report.html").read_text(encoding="utf-8")
    assert "without the damaged 6" in report or "the best of the validations" in report


def test_bundle_and_report_of_a_finished_run_are_written_again(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs[1], run)
    request, before = toy_request(runs[0], run, SETTINGS), weights(run)
    flip(run / "report.html")
    assert "report.html was missing or damaged" in resume(request)
    flip(run / "bundle" / "model.safetensors")
    assert "It is written again from the snapshots." in resume(request)
    assert weights(run) == before
    verify_checksums(run)


@pytest.mark.parametrize("name", ["run.json", "data/train/target.ids", "data/corpus.json", "checkpoints"])
def test_an_error_of_the_disk_is_not_damage(half, name, monkeypatch):
    def failing(function, reads):
        def opened(path, *arguments, **options):
            if str(path).startswith(str(half.out / name)) and reads(arguments):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return function(path, *arguments, **options)

        return opened

    monkeypatch.setattr("os.open", failing(os.open, lambda arguments: arguments[0] & os.O_ACCMODE == os.O_RDONLY))
    monkeypatch.setattr("builtins.open", failing(open, lambda arguments: arguments[:1] == ("rb",)))
    with pytest.raises(UserError, match=rf"{half.out / name}.*\(input/output error\)") as error:
        train(half, silent())
    assert not isinstance(error.value, DamagedFile)
    assert "elete" not in str(error.value)
