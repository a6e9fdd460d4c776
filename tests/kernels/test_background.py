"""Compilation in the background: PyTorch computes until it has finished."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from allyouneed import kernels
from allyouneed.kernels import background, capabilities
from allyouneed.kernels.names import GROUPS

pytest.importorskip("numba")


class Process:
    """A compilation that ends when the test says so."""

    def __init__(self, command):
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

    def start(*command, **options):
        started.append(Process(command))
        return started[-1]

    assert kernels.work()  # may start a process too
    monkeypatch.setattr(background, "_process", None)
    monkeypatch.setattr(background, "_early", {})
    monkeypatch.setattr(background.disk_cache, "is_complete", lambda group="": False)
    monkeypatch.setattr(background.processes, "start", start)
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
        monkeypatch.setattr(background.disk_cache, "is_complete", lambda group="": True)
    else:
        monkeypatch.setattr(background.disk_cache, "folder", lambda: None)
    background.compile_in_background()
    assert not cold
    assert not background.pending()


def test_kernels_of_training_are_compiled_early(cold, monkeypatch):
    x = torch.zeros(2, 16)
    background.compile_early()
    background.compile_early("attention", "fp32-products")
    assert [process.command for process in cold] == [
        ("precompile", "attention"),
        ("precompile", "loss"),
        ("precompile", "fp32-products"),
    ]
    assert kernels.usable(x)  # training never falls back on PyTorch
    waits = []
    for process in cold[1:]:
        process.code = 0
    monkeypatch.setattr(cold[0], "wait", lambda timeout: 0)
    background.finish_early(lambda: waits.append(1))
    background.finish_early(lambda: waits.append(1))
    assert waits == [1]
    assert not any(process.killed for process in cold)


def test_kernels_of_training_are_compiled_without_pytorch():
    modules = {name.rpartition(".")[0] for group in GROUPS.values() for name in group}
    imports = "".join(f"import {name}; " for name in ["allyouneed.kernels.precompile", *sorted(modules)])
    code = f"import sys; from allyouneed.lazy import defer; defer('torch'); {imports}print('torch._C' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_process_that_tests_kernels_goes_on_to_compile_them(cold, monkeypatch):
    monkeypatch.setattr(capabilities, "_tests", capabilities._make_tests())
    monkeypatch.setattr(capabilities._Test, "known", lambda self: self.found)
    background.compile_early()
    background.compile_early("bf16-products")
    assert [process.command for process in cold] == [
        ("self_test", "", "attention"),
        ("precompile", "loss"),
        ("self_test", capabilities.BF16, "bf16-products"),
    ]


@pytest.mark.parametrize(("passed", "code", "works"), [(True, -11, False), (True, 1, True), (False, -11, True)])
def test_kernels_are_given_up_if_compiling_them_early_crashes(cold, monkeypatch, passed, code, works):
    """A crash of the test itself has a result of its own."""
    monkeypatch.setattr(capabilities, "_tests", capabilities._make_tests())
    capabilities.assume()
    monkeypatch.setattr(capabilities, "passed", lambda capability: passed)
    process = Process(())
    process.code = code
    monkeypatch.setattr(background, "_early", {"attention": background._Early(process, "")})
    with warnings.catch_warnings(record=True) as caught:
        background.finish_early()
        assert kernels.work() is works
    assert len(caught) == (not works)


def test_a_process_that_makes_no_progress_is_ended(cold):
    background.compile_early()
    background.finish_early()
    assert [process.killed for process in cold] == [True, True]


def test_one_process_of_a_machine_compiles_early(cold, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    background.compile_early()
    assert not cold
    background.finish_early()
