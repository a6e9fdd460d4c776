"""Compilation in the background: PyTorch computes until it has finished."""

from __future__ import annotations

import subprocess

import pytest
import torch

from allyouneed import kernels
from allyouneed.kernels import background

pytest.importorskip("numba")


class Process:
    """A compilation that ends when the test says so."""

    def __init__(self, command, **options):
        self.command, self.code, self.killed = command, None, False

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None and timeout is not None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self.code or 0

    def kill(self) -> None:
        self.killed, self.code = True, -9

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def cold(monkeypatch):
    """An incomplete cache, and processes that do nothing; returns the started ones."""
    started = []
    assert kernels.work()  # may start a process too
    monkeypatch.setattr(background, "_process", None)
    monkeypatch.setattr(background, "_early", None)
    monkeypatch.setattr(background.disk_cache, "is_complete", lambda part="": False)
    monkeypatch.setattr(background.subprocess, "Popen", lambda *a, **k: started.append(Process(*a, **k)) or started[-1])
    return started


def test_kernels_are_not_used_until_the_process_has_ended(cold):
    x = torch.zeros(2, 16)
    assert kernels.usable(x)
    background.compile_in_background()
    background.compile_in_background()
    [process] = cold
    assert background.pending()
    assert not kernels.usable(x)
    assert not kernels.available()
    process.code = 1  # also after a failure: the kernels are then compiled here
    assert not background.pending()
    assert kernels.usable(x)


@pytest.mark.parametrize("reason", ["complete", "no folder"])
def test_nothing_is_started_without_need(cold, monkeypatch, reason):
    if reason == "complete":
        monkeypatch.setattr(background.disk_cache, "is_complete", lambda part="": True)
    else:
        monkeypatch.setattr(background.disk_cache, "folder", lambda: None)
    background.compile_in_background()
    assert not cold
    assert not background.pending()


def test_some_kernels_of_training_are_compiled_early(cold):
    x = torch.zeros(2, 16)
    background.compile_early()
    background.compile_early()
    [process] = cold
    assert process.command[-1].endswith("_token_loss")
    assert kernels.usable(x)  # training never falls back on PyTorch
    process.code = 0
    background.finish_early()
    background.finish_early()
    assert not process.killed


def test_a_process_that_makes_no_progress_is_ended(cold):
    background.compile_early()
    background.finish_early()
    [process] = cold
    assert process.killed


def test_one_process_of_a_machine_compiles_early(cold, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    background.compile_early()
    assert not cold
    background.finish_early()
