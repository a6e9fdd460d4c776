"""Compilation in the background: PyTorch computes until it has finished."""

from __future__ import annotations

import pytest
import torch

from allyouneed import kernels
from allyouneed.kernels import background

pytest.importorskip("numba")


class Process:
    """A compilation that ends when the test says so."""

    def __init__(self, *arguments, **options):
        self.code = None

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def cold(monkeypatch):
    """An incomplete cache, and processes that do nothing; returns the started ones."""
    started = []
    monkeypatch.setattr(background, "_process", None)
    monkeypatch.setattr(background.disk_cache, "is_complete", lambda: False)
    monkeypatch.setattr(background.subprocess, "Popen", lambda *a, **k: started.append(Process()) or started[-1])
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
        monkeypatch.setattr(background.disk_cache, "is_complete", lambda: True)
    else:
        monkeypatch.setattr(background.disk_cache, "folder", lambda: None)
    background.compile_in_background()
    assert not cold
    assert not background.pending()
