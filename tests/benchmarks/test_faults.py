"""The harness for faults: states of a disk after a loss of power, advice of messages, and a few cases."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import faults_scenarios
from benchmarks.faults_power import Call, Disk

ROOT = Path(__file__).parents[2]


def contents(calls: list[Call], seed: int) -> dict[str, bytes | None]:
    return dict(Disk(calls).files(random.Random(seed)))


def test_after_a_loss_of_power_only_what_was_synced_is_certain():
    calls = [
        Call("mkdir", "a", "", 0, b""),
        Call("sync", "", "", 0, b""),
        Call("create", "a/b.unfinished", "", 0, b""),
        Call("write", "a/b.unfinished", "", 0, b"content"),
        Call("sync", "a/b.unfinished", "", 0, b""),
        Call("rename", "a/b.unfinished", "a/b", 0, b""),
        Call("sync", "a", "", 0, b""),
        Call("write", "a/b", "", 7, b" and more"),
        Call("create", "c", "", 0, b""),
    ]
    assert dict(Disk(calls).files()) == {"a": None, "a/b": b"content and more", "c": b""}
    found = [contents(calls, seed) for seed in range(60)]
    assert all(each["a"] is None and each["a/b"].startswith(b"content") for each in found)
    assert {each["a/b"] for each in found} > {b"content", b"content and more", b"content" + bytes(9)}
    assert {"c" in each for each in found} == {True, False}


def test_without_a_sync_of_the_folder_a_renamed_file_may_have_its_old_name():
    calls = [
        Call("create", "old", "", 0, b""),
        Call("sync", "", "", 0, b""),
        Call("rename", "old", "new", 0, b""),
    ]
    assert {tuple(sorted(contents(calls, seed))) for seed in range(60)} >= {("new",), ("old",)}


def test_writes_and_cuts_are_replayed_at_their_offsets():
    calls = [
        Call("create", "a", "", 0, b""),
        Call("write", "a", "", 0, b"abcdef"),
        Call("write", "a", "", 2, b"XY"),
        Call("cut", "a", "", 5, b""),
        Call("create", "b", "", 0, b""),
        Call("unlink", "b", "", 0, b""),
    ]
    assert dict(Disk(calls).files()) == {"a": b"abXYe"}


def test_advice_is_followed_below_the_output_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out/data").mkdir(parents=True)
    Path("train.de").touch()
    scenario = faults_scenarios.Scenario("train", ["train"], list, ["train"])
    advice = "error: out/data/store.json: missing. Delete out/data and run the same command again."
    assert faults_scenarios.follow(advice, ["train"], scenario) == ["train"]
    assert not Path("out/data").exists()
    assert not faults_scenarios.follow(advice, ["train"], scenario)
    assert not faults_scenarios.follow("error: train.de: damaged. Delete train.de.", ["train"], scenario)
    assert Path("train.de").exists()


def test_a_message_names_a_file_or_its_folder():
    file = Path("out/data/train/source.ids")
    assert faults_scenarios.names("error: out/data/train: source is truncated.", file)
    assert faults_scenarios.names("error: out/data: damaged. Delete it.", file)
    assert not faults_scenarios.names("error: out/data/train.json: damaged.", Path("out/data/train"))
    assert not faults_scenarios.names("error: out: damaged.", file)


@pytest.mark.slow  # it is what `make faults` does
def test_some_cases_pass():
    """`make faults` runs all cases."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-m", "benchmarks.faults", "--commands", "train", "--only", "kill", "--cases", "2"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    if "without faults at single calls" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"^\| all \| (\d+) \|", done.stdout, re.MULTILINE)[1]) == 2
