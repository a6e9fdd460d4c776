"""Logging: a progress bar on a terminal, plain lines elsewhere, no colours if NO_COLOR is set, and TensorBoard."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest
from rich.console import Console

from allyouneed.training.reporting.log import RunLog

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[349]\d|10\d)(?:;\d+)*m")


def output_of(tmp_path, environment: dict[str, str], terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, _environ=environment)
    log = RunLog(tmp_path, console)
    log.start(steps=100, step=0)
    log.progress(50, 100, loss=2.5, rate=1234.0, seconds_left=75.0, plain=True)
    log.stop()
    return out.getvalue()


@pytest.mark.parametrize(("term", "terminal"), [("xterm-256color", False), ("dumb", True)])
def test_plain_lines_without_a_capable_terminal(tmp_path, term, terminal):
    assert output_of(tmp_path, {"TERM": term}, terminal) == "step 50/100  loss 2.500  1,234 tokens/s  1:15 left\n"


def test_a_bar_in_a_terminal(tmp_path):
    shown = output_of(tmp_path, {"TERM": "xterm-256color"}, terminal=True)
    for part in ("50/100 steps", "loss 2.500", "1,234 tokens/s"):
        assert part in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown)
    assert COLOUR.search(shown)
    assert "nan" not in shown  # there is no loss before the first step


def test_no_color_is_respected(tmp_path):
    assert not COLOUR.search(output_of(tmp_path, {"TERM": "xterm-256color", "NO_COLOR": "1"}, terminal=True))


def test_logging_continues_if_tensorboard_cannot_write(tmp_path):
    pytest.importorskip("tensorboard")
    out = io.StringIO()
    log = RunLog(tmp_path, Console(file=out, width=300))
    log.start(steps=10, step=0)
    log._board._file.close()
    log._board._records._writer = open("/dev/full", "wb")  # noqa: SIM115
    log.record("train", step=1, loss=2.5, nll=2.4)  # the first failure closes TensorBoard
    log.record("train", step=2, loss=2.3, nll=2.2)
    log.stop()
    assert out.getvalue().count("tensorboard: cannot be written (no space left on device). Training goes on") == 1
    assert [(record["step"], record["nll"]) for record in log.records()] == [(1, 2.4), (2, 2.2)]


def test_lines_are_shown_verbatim(tmp_path):
    out = io.StringIO()
    line = "[red]not red[/red], [/nothing opened], :cat: " + "and much of it " * 20
    RunLog(tmp_path, Console(file=out, width=80)).show(line)
    assert out.getvalue() == f"{line}\n"


def test_the_bar_follows_a_corrected_plan(tmp_path):
    out = io.StringIO()
    log = RunLog(tmp_path, Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm-256color"}))
    log.start(steps=100, step=0)
    log.progress(50, 200, loss=2.5, rate=1234.0, seconds_left=75.0, plain=False)
    log.stop()
    assert "50/200 steps" in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())


def test_records_that_cannot_be_written_are_written_later(tmp_path):
    out = io.StringIO()
    log = RunLog(tmp_path, Console(file=out, width=300))
    log.path.mkdir()
    log.record("train", step=1)
    log.record("train", step=2)
    assert out.getvalue().count("log.jsonl: cannot be written (is a directory). Training goes on") == 1
    log.path.rmdir()
    assert log.saved() == log.path.read_bytes() != b""
    log.record("train", step=3)
    assert [record["step"] for record in log.records()] == [1, 2, 3]


def test_damaged_lines_are_left_out(tmp_path):
    out = io.StringIO()
    log = RunLog(tmp_path, Console(file=out, width=300))
    log.path.write_text('{"event": "train", "step": 0}\n')  # of a version without checksums
    for step in (1, 2, 3):
        log.record("train", step=step, text="a\ud800\n")
    content = log.path.read_bytes()
    log.path.write_bytes(content.replace(b'"step": 2', b'"step": 3'))
    assert [record["step"] for record in log.records()] == [0, 1, 3]
    assert "1 in all" in out.getvalue()
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    log.rewind(len(content), copy)
    assert "is restored from" in out.getvalue()
    assert log.path.read_bytes() == content
    log.rewind(len(content) - 5)
    assert log.path.read_bytes() == content[:-5]
    os.truncate(log.path, 1 << 36)  # larger than any log, and than memory
    log.rewind(len(content), copy)
    assert "68,719,476,736 bytes, and at most" in out.getvalue()
    assert log.path.read_bytes() == content


def test_the_log_is_written_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "allyouneed.training.reporting.board", None)
    log = RunLog(tmp_path, Console(quiet=True))
    log.start(steps=10, step=0)
    log.record("train", step=1, loss=2.5)
    log.stop()
    assert not (tmp_path / "tensorboard").exists()
    assert [record["loss"] for record in log.records()] == [2.5]


def test_no_tensorboard_in_a_folder_whose_name_is_not_utf_8(tmp_path):
    run = tmp_path / os.fsdecode(b"run-\xe9")
    try:
        run.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    log = RunLog(run, Console(quiet=True))
    log.start(steps=10, step=0)
    log.record("train", step=1, loss=2.5)
    log.stop()
    assert not (run / "tensorboard").exists()
