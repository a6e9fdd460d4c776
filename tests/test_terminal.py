"""Option parsing, and the message after an interruption."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from allyouneed import lazy
from allyouneed.terminal import (
    INTERRUPTED,
    expand_options,
    file_group,
    finite,
    open_closed_streams,
    program,
    resume_hint,
    say,
    text,
)


def test_a_second_file_gets_the_option_repeated():
    assert expand_options(["translate", "--", "--test", "a", "b"]) == ["translate", "--", "--test", "a", "b"]
    assert expand_options(["--test", "a", "b", "c", "d"]) == ["--test", "a", "--test", "b", "c", "d"]
    assert expand_options(["--test", "-", "b"]) == ["--test", "-", "--test", "b"]


def test_a_message_is_one_write(monkeypatch):
    """Output of another thread cannot be inserted between a message and its newline."""
    writes: list[str] = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=writes.append, flush=lambda: None))
    say("http://127.0.0.1:8000/")
    assert writes == ["http://127.0.0.1:8000/\n"]


def test_each_corpus_is_one_value():
    arguments = ["--train", "a", "b", "--train", "c.tsv", "--valid", "d", "e", "RUN"]
    expanded = expand_options(arguments)
    assert expanded == ["--train", "a\0b", "--train", "c.tsv", "--valid", "d\0e", "RUN"]
    assert [file_group(value) for value in expanded[1:4:2]] == [(Path("a"), Path("b")), (Path("c.tsv"),)]


def test_an_interruption_prints_the_command_that_resumes(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["allyouneed", "train", "--out", "my run"])
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/{name}")
    with pytest.raises(SystemExit) as exit_info, resume_hint():
        raise KeyboardInterrupt
    assert exit_info.value.code == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1] == "  allyouneed train --out 'my run'"


def test_open_streams_are_unchanged():
    before = sys.stdin, sys.stdout, sys.stderr
    open_closed_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_the_resume_command_can_be_typed_again(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["/a b/__main__.py", "train", "--out", "my run"])
    monkeypatch.setattr(sys, "executable", "/a b/python")
    with pytest.raises(SystemExit), resume_hint():
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[1].strip() == "'/a b/python' -m allyouneed train --out 'my run'"


def test_program_name_can_be_typed_again(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/{name}")
    assert program() == "allyouneed"
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "an environment" / "bin" / "allyouneed")])
    assert program() == "'an environment/bin/allyouneed'"
    monkeypatch.setattr("sys.argv", ["/somewhere/allyouneed/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert program() == "/usr/bin/python3 -m allyouneed"


@pytest.mark.parametrize("value", ["a", None, ["a", "한국어 😀"]])
def test_valid_text_is_accepted(value):
    assert text(value) is value


@pytest.mark.parametrize("value", ["\udcff", ["a", "a\udcff"]])
def test_text_that_is_not_utf8_is_refused(value):
    with pytest.raises(typer.BadParameter, match="not valid UTF-8"):
        text(value)


def test_infinite_numbers_are_refused():
    assert [finite(value) for value in (None, 0.0, -2.5)] == [None, 0.0, -2.5]
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(typer.BadParameter, match="not a finite number"):
            finite(value)


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("raise UserError('no')", 2), ("raise ValueError", 1)])
def test_the_end_of_a_program_flushes_its_output_and_runs_what_is_registered(tmp_path, body, code):
    program = f"""
import atexit, weakref, typer
from pathlib import Path
from allyouneed.errors import UserError
from allyouneed.terminal import run_app
app = typer.Typer(pretty_exceptions_enable=False)
class Unfreeable:
    def __del__(self):
        Path("freed").touch()
kept = Unfreeable()
@app.command()
def work():
    print("result")
    weakref.finalize(Path, Path("finalized").touch)
    atexit.register(print, "end")
    {body}
run_app(app, UserError)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "result\nend\n")
    assert (tmp_path / "finalized").exists()
    assert (tmp_path / "freed").exists() == (code == 1)  # a traceback is printed as always


def test_imports_pause_garbage_collection(monkeypatch, tmp_path):
    (tmp_path / "seen_collection.py").write_text("import gc\nenabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    get = lazy.attach("package", {"enabled": "seen_collection"})
    assert gc.isenabled()
    assert get("enabled") is False
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError):
        lazy.attach("package", {"missing": "not_a_module"})("missing")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("use", "printed"),
    [
        ("import slow; print('slow.part' in sys.modules, slow.__file__, slow.__spec__)", "False"),
        (
            "import slow; print(slow.four, slow.module is slow is sys.modules['slow'], type(slow) is ModuleType)",
            "4 True",
        ),
        ("from slow.part import four; import slow; print(slow.part.four, len(slow.__path__))", "4 1"),
        ("import slow; slow.four; defer('slow'); print(hasattr(slow, 'five'), slow.four)", "False 4"),
        ("import broken\ntry: broken.value\nexcept OSError: print('broken' in sys.modules)", "False"),
        ("try: import missing\nexcept ImportError: print('missing')", "missing"),
    ],
)
def test_a_deferred_package_is_loaded_when_it_is_used(tmp_path, use, printed):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "__init__.py").write_text("from slow.part import four\nmodule = __import__(__name__)")
    (tmp_path / "slow" / "part.py").write_text("four = 4")
    (tmp_path / "broken.py").write_text("raise OSError('no library')")
    start = f"import sys; from types import ModuleType; sys.path.insert(0, {str(tmp_path)!r})"
    code = f"{start}; from allyouneed.lazy import defer; defer('slow'); defer('broken'); defer('missing')"
    found = subprocess.run([sys.executable, "-c", f"{code}\n{use}"], capture_output=True, text=True)
    assert found.stdout.startswith(printed), found.stderr
