"""A translation that Ctrl-C ends leaves whole lines, and goes on after them."""

import io
import json
import os
from contextlib import redirect_stdout

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation import text_files as files
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.text_files import translate_file

OPTIONS = SearchOptions(beam_size=1)


@pytest.fixture
def interrupted(toy_run, tmp_path, monkeypatch):
    """Ten lines, four at once, ended in the second block. -> translator, source, output, the whole translation."""
    translator = Translator.load(toy_run)
    source, output, whole = (tmp_path / name for name in ("source", "output", "whole"))
    source.write_text("".join(f"{'abcdefgh'[i % 8]} b {'hgfedcba'[i % 8]}\n" for i in range(10)))
    monkeypatch.setattr(files, "_FEWEST_LINES", 4)
    monkeypatch.setattr(files, "_MOST_LINES", 4)
    translate_file(translator, source, whole, OPTIONS, False, print)
    assert not whole.with_name("whole.resume").exists()
    calls = []

    def translate(texts, options, **inputs):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Translator.translate(translator, texts, options, **inputs)

    monkeypatch.setattr(translator, "translate", translate)
    with pytest.raises(KeyboardInterrupt):
        translate_file(translator, source, output, OPTIONS, False, print)
    return translator, source, output, whole.read_text()


def test_finished_lines_stay_and_the_rest_follows(interrupted):
    translator, source, output, whole = interrupted
    assert output.read_text().splitlines() == whole.splitlines()[:4]
    with output.open("a") as file:
        file.write("half a li")
    translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == whole
    assert not output.with_name("output.resume").exists()


def test_what_does_not_belong_together_is_left_alone(interrupted):
    translator, source, output, _ = interrupted
    before = output.read_text()
    with pytest.raises(UserError, match="another model, input or settings"):
        translate_file(translator, source, output, SearchOptions(beam_size=2), False, print, resume=True)
    note = output.with_name("output.resume")
    facts = json.loads(note.read_text())
    note.write_text(json.dumps({**facts, "bytes": facts["bytes"] + 1}))
    with pytest.raises(UserError, match="shorter than"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    note.unlink()
    with pytest.raises(UserError, match="not there"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)
    with pytest.raises(UserError, match="needs a FILE"):
        translate_file(translator, None, output, OPTIONS, False, print, resume=True)
    assert output.read_text() == before


def test_a_note_of_what_was_overwritten_is_gone(interrupted, tmp_path):
    translator, source, output, _ = interrupted
    files.evaluate_files(Translator(translator.bundle), [source, source], OPTIONS, output=output)
    with pytest.raises(UserError, match="not there"):
        translate_file(translator, source, output, OPTIONS, False, print, resume=True)


def test_a_pipe_has_no_note(toy_run, tmp_path, monkeypatch):
    """Nor has `/dev/stdout`: a note could not stand beside it, and says nothing of what went through."""
    source, pipe = tmp_path / "source", tmp_path / "pipe"
    source.write_text("a b c\n\n")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(files, "Note", None)
    translate_file(Translator.load(toy_run), source, pipe, OPTIONS, False, print)
    assert os.read(reader, 1000).count(b"\n") == 2
    os.close(reader)
    with pytest.raises(UserError, match="needs a FILE"):
        translate_file(Translator.load(toy_run), source, pipe, OPTIONS, False, print, resume=True)


def test_standard_output_may_be_anything_that_takes_text(toy_run, tmp_path):
    """A notebook's, for example, whose encoding cannot be set."""
    source = tmp_path / "source"
    source.write_text("a b c\n\n")
    with redirect_stdout(io.StringIO()) as out:
        translate_file(Translator.load(toy_run), source, None, OPTIONS, False, print)
    assert out.getvalue().count("\n") == 2
