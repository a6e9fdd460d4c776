"""A bar where there is a terminal, plain lines elsewhere, and not too many of them."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from allyouneed import progress
from allyouneed.progress import counting


def said(environment: dict[str, str], terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, _environ=environment)
    with counting(console, "heads off") as told:
        told(1, 4)
        told(2, 4)
    return out.getvalue()


@pytest.mark.parametrize(("term", "terminal"), [("xterm-256color", False), ("dumb", True)])
def test_plain_lines_without_a_terminal_that_can_more(monkeypatch, term, terminal):
    assert said({"TERM": term}, terminal) == ""  # short work
    times = iter((0.0, 5.0, 12.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert said({"TERM": term}, terminal) == "heads off 2/4  0:12 left\n"


def test_a_bar_in_a_terminal():
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", said({"TERM": "xterm-256color"}, terminal=True))
    assert "heads off" in shown
    assert "2/4" in shown
