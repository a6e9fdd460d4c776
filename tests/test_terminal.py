"""How a command is typed, and what is said when it is stopped."""

from __future__ import annotations

import sys

import pytest
import typer

from allyouneed.terminal import INTERRUPTED, expand_options, finite, open_closed_streams, program, resume_hint, text


def test_files_after_other_options_and_after_the_end_of_options_are_left_alone():
    assert expand_options(["translate", "--", "--test", "a", "b"]) == ["translate", "--", "--test", "a", "b"]
    assert expand_options(["--test", "a", "b", "c", "d"]) == ["--test", "a", "--test", "b", "c", "d"]
    assert expand_options(["--valid", "a", "b", "--out", "c", "d"]) == [
        "--valid",
        "a",
        "--valid",
        "b",
        "--out",
        "c",
        "d",
    ]
    assert expand_options(["--test", "-", "b"]) == ["--test", "-", "--test", "b"]


def test_what_stops_tells_the_command_that_goes_on(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["allyouneed", "train", "--out", "my run"])
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/{name}")
    with pytest.raises(SystemExit) as left, resume_hint():
        raise KeyboardInterrupt
    assert left.value.code == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1] == "  allyouneed train --out 'my run'"


def test_streams_that_are_open_are_left_alone():
    before = sys.stdin, sys.stdout, sys.stderr
    open_closed_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_the_program_is_called_as_it_can_be_called_again(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/{name}")
    assert program() == "allyouneed"
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "an environment" / "bin" / "allyouneed")])
    assert program() == "'an environment/bin/allyouneed'"
    monkeypatch.setattr("sys.argv", ["/somewhere/allyouneed/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert program() == "/usr/bin/python3 -m allyouneed"


@pytest.mark.parametrize("given", ["a", None, ["a", "한국어 😀"]])
def test_text_is_unicode(given):
    assert text(given) is given


@pytest.mark.parametrize("given", ["\udcff", ["a", "a\udcff"]])
def test_bytes_that_are_no_text_are_a_mistake(given):
    with pytest.raises(typer.BadParameter, match="not valid UTF-8"):
        text(given)


def test_numbers_without_end_are_a_mistake():
    assert [finite(given) for given in (None, 0.0, -2.5)] == [None, 0.0, -2.5]
    for given in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(typer.BadParameter, match="not a finite number"):
            finite(given)
