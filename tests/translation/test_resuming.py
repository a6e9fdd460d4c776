"""Resuming: an interrupted translation ends with a complete line, after which it continues."""

from __future__ import annotations

import errno
import io
import json
import os
from contextlib import redirect_stdout

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation import line_blocks, text_files
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.resuming import lock_output, note_path
from allyouneed.translation.text_files import translate_file

OPTIONS = SearchOptions(beam_size=1)


@pytest.fixture
def interrupted(toy_run, tmp_path, monkeypatch):
    """Interrupt a translation of ten lines, in blocks of four, in the second block.

    Returns:
        The translator, the source, the output, and the complete translation.
    """
    translator = Translator.load(toy_run)
    source, output, complete = (tmp_path / name for name in ("source", "output", "complete"))
    source.write_text("".join(f"{'abcdefgh'[i % 8]} b {'hgfedcba'[i % 8]}\n" for i in range(10)))
    monkeypatch.setattr(line_blocks, "_MIN_LINES", 4)
    monkeypatch.setattr(line_blocks, "_MAX_LINES", 4)
    translate_file(translator, source, complete, OPTIONS, False, print)
    assert not complete.with_name("complete.resume").exists()
    calls = []

    def translate(texts, options, **inputs):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Translator.translate(translator, texts, options, **inputs)

    monkeypatch.setattr(translator, "translate", translate)
    with pytest.raises(KeyboardInterrupt):
        translate_file(translator, source, output, OPTIONS, False, print)
    return translator, source, output, complete.read_text()


def test_finished_lines_are_kept_and_the_rest_follows(interrupted):
    translator, source, output, complete = interrupted
    assert output.read_text().splitlines() == complete.splitlines()[:4]
    with output.open("a") as file:
        file.write("half a li")
    translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == complete
    assert not output.with_name("output.resume").exists()


def test_an_output_of_another_command_is_not_continued(interrupted):
    translator, source, output, _ = interrupted
    before = output.read_text()
    with pytest.raises(UserError, match="another model, input or settings"):
        translate_file(translator, source, output, SearchOptions(beam_size=2), False, print, resume=True)
    note = output.with_name("output.resume")
    facts = json.loads(note.read_text())
    note.write_text(json.dumps({**facts, "bytes": facts["bytes"] + 1}))
    with pytest.raises(UserError, match="shorter than"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    for changes, message in (
        ({"lines": None}, "lines = None: input should be a valid integer"),
        ({"lines": 10**30}, "lines = 1000.*000: input should be less than or equal to 1000000000000000"),
        ({"bytes": -1}, "bytes = -1: input should be greater than or equal to 0"),
        ({"facts": []}, r"facts = \[\]: input should be a valid dictionary"),
        ({"facts": {"unchanged": [1]}}, r"unchanged\.1: field required"),
    ):
        note.write_text(json.dumps({**facts, **changes}))
        with pytest.raises(UserError, match=rf"output\.resume: {message}.* Translate without --resume\.$"):
            translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    note.unlink()
    with pytest.raises(UserError, match="is finished, or was not written by this command"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    with pytest.raises(UserError, match="needs an input FILE"):
        translate_file(translator, None, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == before


def test_the_note_of_an_overwritten_output_is_removed(interrupted):
    translator, source, output, _ = interrupted
    evaluate(Translator(translator.bundle), [source, source], OPTIONS, output=output)
    with pytest.raises(UserError, match="is finished, or was not written"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_an_output_that_another_command_writes_is_unchanged(interrupted, resume):
    translator, source, output, complete = interrupted
    left = {path: path.read_bytes() for path in (output, note_path(output))}
    with open(output, "ab") as other:
        lock_output(other, output)
        with pytest.raises(UserError, match="output: another command is writing this file"):
            translate_file(translator, source, output, OPTIONS, False, print, resume=resume)
    assert {path: path.read_bytes() for path in left} == left
    translate_file(translator, source, output, OPTIONS, False, print, resume=resume)
    assert output.read_text() == complete


def test_lines_that_another_command_has_appended_are_not_appended_again(interrupted, monkeypatch):
    translator, source, output, complete = interrupted

    def translate(texts, options, **inputs):
        with monkeypatch.context() as patch:  # the other command is done before this one has its first block
            patch.setattr(translator, "translate", Translator(translator.bundle).translate)
            translate_file(translator, source, output, OPTIONS, False, print, resume=True)
        return Translator.translate(translator, texts, options, **inputs)

    monkeypatch.setattr(translator, "translate", translate)
    with pytest.raises(UserError, match="output: another command is writing this file"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == complete


def test_a_file_system_without_locks_has_outputs(interrupted, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    translator, source, output, complete = interrupted
    monkeypatch.setattr("allyouneed.shared_files.fcntl.flock", refuse)
    translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == complete


def test_a_pipe_has_no_note(toy_run, tmp_path, monkeypatch):
    """A pipe and `/dev/stdout` have no note, since they cannot be continued."""
    source, pipe = tmp_path / "source", tmp_path / "pipe"
    source.write_text("a b c\n\n")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(text_files, "ResumeNote", None)
    translate_file(Translator.load(toy_run), source, pipe, OPTIONS, False, print)
    assert os.read(reader, 1000).count(b"\n") == 2
    os.close(reader)
    with pytest.raises(UserError, match="needs an input FILE"):
        translate_file(Translator.load(toy_run), source, pipe, OPTIONS, False, print, resume=True)


def test_standard_output_may_be_any_text_stream(toy_run, tmp_path):
    """For example, the encoding of a notebook's standard output cannot be set."""
    source = tmp_path / "source"
    source.write_text("a b c\n\n")
    with redirect_stdout(io.StringIO()) as out:
        translate_file(Translator.load(toy_run), source, None, OPTIONS, False, lambda message: None)
    assert out.getvalue().count("\n") == 2


def test_the_output_is_synced_before_its_note(toy_run, tmp_path, monkeypatch):
    """After a power failure, the note never counts lines that are not on the disk."""
    source, output, synced = tmp_path / "source", tmp_path / "output", []
    source.write_text("a b c\n\n")
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    translate_file(Translator.load(toy_run), source, output, OPTIONS, False, print)
    assert synced[0] == output.stat().st_ino
    assert len(synced) > 1
