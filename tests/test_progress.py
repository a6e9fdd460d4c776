"""Progress reporting: a bar on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from allyouneed import progress


def output(environment: dict[str, str], terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, _environ=environment)
    with progress.track_progress(console, "heads off") as update:
        update(1, 4)
        update(2, 4)
    return out.getvalue()


@pytest.mark.parametrize(("term", "terminal"), [("xterm-256color", False), ("dumb", True)])
def test_lines_where_no_bar_can_be_drawn(monkeypatch, term, terminal):
    times = iter((0.0, 1.0, 2.0, 20.0, 25.0, 32.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert output({"TERM": term}, terminal) == ""  # less than 10 seconds
    assert output({"TERM": term}, terminal) == "heads off 2/4  0:12 left\n"


def test_a_bar_on_a_terminal():
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", output({"TERM": "xterm-256color"}, terminal=True))
    assert "heads off" in shown
    assert "2/4" in shown


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00 left"), (75, "1:15 left"), (4504, "75:04 left")])
def test_time_left(seconds, text):
    assert progress.time_left(seconds) == text


def test_a_line_is_printed_verbatim():
    out = io.StringIO()
    line = "[bold]a :smile: b " + "c" * 100
    progress.print_line(Console(file=out, width=40), line)
    assert out.getvalue() == line + "\n"


def test_long_passes_report_rate_and_time_left(monkeypatch):
    now, lines = [100.0], []
    monkeypatch.setattr("allyouneed.progress.time.monotonic", lambda: now[0])
    rate = progress.RateLines(lines.append, "reading", 10_000, "pairs")

    def items(count):
        for number in range(count):
            now[0] += 1 / 128
            yield number

    assert list(rate.counted(items(4500))) == list(range(4500))
    assert lines == [
        "reading: 2,000/10,000 pairs, 128 pairs/s, 1:02 left",
        "reading: 4,000/10,000 pairs, 128 pairs/s, 0:46 left",
    ]
    list(rate.counted(items(7000)))  # of another file; more than were counted before
    assert lines[-1] == "reading: 10,000/10,000 pairs, 128 pairs/s, 0:00 left"
