"""Checksums of unchanged files are not computed again."""

import dataclasses
import os

from allyouneed.training.resolution import identity
from allyouneed.training.resolution.checksums import KnownChecksums
from allyouneed.training.train import train
from tests.conftest import silent, toy_request


def make_old(path):
    os.utime(path, (1e9, 1e9))


def test_a_file_is_read_again_only_when_it_may_have_changed(tmp_path):
    path, read = tmp_path / "text", []
    path.write_text("one")

    def compute(path):
        read.append(path.read_text())
        return read[-1].upper()

    known = KnownChecksums()
    assert [known.of(path, compute) for _ in range(2)] == ["ONE", "ONE"]
    assert read == ["one"] * 2  # it was changed just now
    assert known.as_dict() == {}
    make_old(path)
    assert [known.of(path, compute) for _ in range(3)] == ["ONE"] * 3
    assert len(read) == 3
    again = KnownChecksums(known.as_dict())
    assert again.of(path, compute) == "ONE"
    assert len(read) == 3
    path.write_text("two")  # of the same size
    assert again.of(path, compute) == "TWO"
    make_old(path)
    path.rename(tmp_path / "other")
    assert again.of(tmp_path / "other", compute) == "TWO"


def test_resuming_a_run_does_not_read_its_text(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.steps=2", "training.validate_every=2"])
    files = [path for each in (*request.train, *request.valid) for path in each.paths]
    for path in files:
        make_old(path)
    train(request, silent())
    monkeypatch.setattr(identity, "sha256", lambda path: (_ for _ in ()).throw(AssertionError(f"{path} is read")))
    longer = dataclasses.replace(request, settings=[*request.settings, "training.steps=3"])
    train(longer, silent())
