"""Several processes translate one file: the same bytes as one process, after any crash, with any number of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from allyouneed import Translator, UserError
from allyouneed.cli import main
from allyouneed.translation import line_blocks, shared_blocks, text_files
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.stored_parts import remove_parts
from allyouneed.translation.text_files import translate_file
from tests.compat import POST_NORM

OPTIONS = SearchOptions(beam_size=1, repetition_guard=False)
LINES, BLOCKS = 50, 13
SLEEP = time.sleep


@dataclass
class Threads:
    """The processes of a command, each a thread."""

    rank: int
    count: int
    barrier: threading.Barrier
    shared: list

    def share(self, value):
        if self.rank == 0:
            self.shared.append(value)
        self.wait()
        return self.shared[0]

    def wait(self):
        self.barrier.wait(60)  # a broken barrier raises a RuntimeError, as a process group does

    def leave(self):
        self.barrier = None


class Killed(BaseException):
    """Ends threads as `kill -9` ends processes: they do not clean up."""


class Run:
    """Runs `translate_file` in several threads, which may end at once."""

    def __init__(self, folder: Path):
        self.translator = Translator.load(POST_NORM)
        self.folder, self.source, self.output = folder, folder / "source", folder / "output"
        self.source.write_text("".join(f"{'abcdefgh'[i % 8]} b {'hgfedcba'[i // 8 % 8]}\n" for i in range(LINES)))
        self.blocks: list[list[str]] = []  # translated
        self.killed_after: int | None = None  # blocks
        self.failed = False

    def alive(self) -> None:
        if self.killed_after is not None and len(self.blocks) >= self.killed_after:
            raise Killed

    def translate(self, texts, options, **inputs):
        self.alive()
        found = Translator.translate(self.translator, texts, options, **inputs)
        self.blocks.append(texts)
        return found

    def sleep(self, seconds: float) -> None:
        self.alive()
        if self.failed:
            raise Killed
        SLEEP(0.005)

    def __call__(
        self, processes: int, killed_after: int | None = None, options=OPTIONS, is_elastic=False, **more
    ) -> list[str]:
        self.killed_after, self.failed, messages = killed_after, False, []
        self.blocks.clear()
        barrier, shared = threading.Barrier(processes), []

        def one(rank: int) -> None:
            ranks = Threads(rank, processes, barrier, shared) if processes > 1 or is_elastic else None
            try:
                arguments = {"scores": False, **more}
                translate_file(
                    self.translator, self.source, self.output, options, report=messages.append, processes=ranks,
                    **arguments,
                )  # fmt: skip
            except BaseException:
                self.failed = True
                barrier.abort()
                raise

        with ThreadPoolExecutor(processes) as pool:
            errors = [pool.submit(one, rank).exception for rank in range(processes)]
        errors = [error for error in (each() for each in errors) if error]
        for error in errors:
            if not isinstance(error, Killed) and "another process ended" not in str(error):
                raise error
        assert bool(errors) == (killed_after is not None)
        return messages

    def leftovers(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"source", "output", "expected"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(line_blocks, "_MIN_LINES", 2)
    monkeypatch.setattr(line_blocks, "_MAX_LINES", 4)
    run = Run(tmp_path)
    monkeypatch.setattr(run.translator, "translate", run.translate)
    monkeypatch.setattr(shared_blocks.time, "sleep", run.sleep)
    return run


@pytest.fixture
def expected(run):
    run(1)
    return run.output.read_bytes()


@pytest.mark.parametrize("processes", [2, 3, 20])
def test_several_processes_write_what_one_does(run, expected, processes):
    blocks = sorted(run.blocks)
    run(processes)
    assert run.output.read_bytes() == expected
    assert sorted(run.blocks) == blocks  # each block once
    assert not run.leftovers()


@pytest.mark.parametrize(
    "options",
    [{"scores": True}, {"as_json": True}, {"options": OPTIONS.replace({"beam_size": 3, "num_hypotheses": 3})},
     {"options": OPTIONS.replace({"sampling_topk": 5, "seed": 3})}, {"force": ["b"]}],
)  # fmt: skip
def test_options_of_lines_give_the_same_bytes(run, options):
    run(1, **options)
    expected = run.output.read_bytes()
    run(3, **options)
    assert run.output.read_bytes() == expected
    run(2, killed_after=5, **options)
    run(1, resume=True, **options)
    assert run.output.read_bytes() == expected


@pytest.mark.parametrize("killed_after", [0, 3, 6])
def test_another_number_of_processes_continues_after_a_crash(run, expected, killed_after):
    run.output.write_text("what the output replaces")
    run(3, killed_after=killed_after)
    translated = len(run.blocks)
    if not killed_after:
        assert run.output.read_text() == "what the output replaces"
    messages = run(2, killed_after=2)
    translated += len(run.blocks)
    assert any("continued; " in message for message in messages) == (killed_after > 0)
    run(1, resume=True)
    translated += len(run.blocks)
    assert run.output.read_bytes() == expected
    assert translated <= BLOCKS + 2 + 1  # those that were translated but not stored in the crashes
    assert not run.leftovers()


def test_one_process_begins_and_several_continue(run, expected):
    run(1, killed_after=5)
    messages = run(3)
    assert f"{run.output}: continued; 18 lines and 0 later blocks are done" in messages
    assert len(run.blocks) == BLOCKS - 5
    assert run.output.read_bytes() == expected


def test_a_single_process_of_torchrun_continues(run, expected):
    """Torchrun may restart a run of several machines with one of them (`--nnodes 1:3`)."""
    run(3, killed_after=5)
    assert any("continued; " in message for message in run(1, is_elastic=True))
    assert len(run.blocks) < BLOCKS
    assert run.output.read_bytes() == expected
    assert not run.leftovers()


def stored_parts(run) -> list[Path]:
    return sorted(run.output.with_name("output.parts").glob("*.part"))


def test_a_damaged_part_is_translated_again(run, expected, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shared_blocks.StoredParts, "read", lambda self, first: None)  # none is appended
        run(2, killed_after=6)
    parts = stored_parts(run)
    assert len(parts) >= 6  # two may be translated at the same time
    text = parts[0].read_bytes()
    parts[0].write_bytes(text[:-3] + b"x" + text[-2:])
    parts[1].write_bytes(text[:10])
    parts[2].write_bytes(b"")
    parts[3].write_bytes(b"[" * 5000)
    run(2)
    assert len(run.blocks) == BLOCKS - len(parts) + 4
    assert run.output.read_bytes() == expected


@pytest.mark.parametrize("changed", ["model", "input", "settings"])
@pytest.mark.parametrize("is_appended", [True, False])
def test_parts_of_another_translation_are_refused(run, monkeypatch, changed, is_appended):
    options = OPTIONS
    with monkeypatch.context() as patch:
        if not is_appended:
            patch.setattr(shared_blocks.StoredParts, "read", lambda self, first: None)
        run(3, killed_after=7)
    if changed == "input":
        run.source.write_text(run.source.read_text().swapcase().replace("b", "c"))
    elif changed == "model":
        run.translator.longest_source -= 1
    else:
        options = OPTIONS.replace({"beam_size": 2})
    left = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file() and path.suffix != ".claim"}
    for processes, resume in [(2, False), (2, True), (1, True)]:
        with pytest.raises(UserError, match=rf"output: the {changed} changed since it was begun. Restore what changed"):
            run(processes, options=options, resume=resume)
    assert {path: path.read_bytes() for path in left} == left
    run.output.with_name("output.resume").unlink(missing_ok=True)
    remove_parts(run.output)
    run(2, options=options)
    assert len(run.blocks) == BLOCKS
    found = run.output.read_bytes()
    run(1, options=options)
    assert run.output.read_bytes() == found


def test_parts_are_ignored_if_one_process_has_begun_anew(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shared_blocks.StoredParts, "read", lambda self, first: None)  # none is appended
        run(3, killed_after=7)
    run.source.write_text(run.source.read_text().replace("b", "c"))
    run(1, killed_after=3)
    assert len(stored_parts(run)) > 0
    assert any("continued; 10 lines and 0 later blocks are done" in message for message in run(1, resume=True))
    found = run.output.read_bytes()
    run(1)
    assert run.output.read_bytes() == found
    assert not run.leftovers()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_input_that_changes_meanwhile_is_refused(run, processes):
    translate = run.translator.translate

    def change(texts, options, **inputs):
        with open(run.source, "a") as file:
            file.write("a\n")
        return translate(texts, options, **inputs)

    run(2, killed_after=1)
    run.translator.translate = change
    with pytest.raises(UserError, match="source has changed while it was translated"):
        run(processes, resume=processes == 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"a b", b"a b\r\nc d\r\n\r\ne", b"\n\n\na\n\n", b"a\rb\rc", "a b\nc\n".encode("utf-16"),
     gzip.compress(b"a\nb"), b"a " * 3000 + b"\nb\n", b"a\tb\nc\td\n"],
    ids=["empty", "one line", "CR LF", "empty lines", "CR", "UTF-16", "gzip", "long line", "TSV"],
)  # fmt: skip
def test_unusual_inputs_give_the_same_bytes(run, content):
    run.source.write_bytes(content)
    run(1)
    expected = run.output.read_bytes()
    assert bool(expected) == bool(content)
    run.output.unlink()
    run(4)
    assert run.output.read_bytes() == expected
    assert not run.leftovers()


@pytest.mark.parametrize("begun", [True, False])
def test_two_commands_do_not_write_the_same_output(run, expected, monkeypatch, begun):
    """The second one waits for the first, which torchrun may end soon, and is refused."""
    if begun:
        run(2, killed_after=5)
    else:
        run.output.unlink()
    monkeypatch.setattr(shared_blocks, "_RESTART_SECONDS", 0.01)
    other, messages = shared_blocks.StoredParts(run.output, "digest"), []
    with other.locked(0, messages.append):
        left = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
        for processes in (1, 2) if begun else (2,):
            with pytest.raises(UserError, match="output: another command is writing this file"):
                run(processes, resume=processes == 1)
        assert {path: path.read_bytes() for path in left} == left
    assert not messages
    run(2)
    assert run.output.read_bytes() == expected
    assert not run.leftovers()


def test_the_folder_of_a_command_that_ends_is_created_again(tmp_path):
    first, second = (shared_blocks.StoredParts(tmp_path / "output", "digest") for _ in range(2))
    waiting, messages = threading.Event(), []

    def wait(message):
        messages.append(message)
        waiting.set()

    def use():
        with second.locked(60, wait):
            return second.folder.is_dir()

    with ThreadPoolExecutor(1) as pool:
        with first.locked(0, messages.append):
            found = pool.submit(use)
            assert waiting.wait(60)
            remove_parts(tmp_path / "output")
        assert found.result(60)
    assert messages == [f"{tmp_path / 'output'}: another command is writing this file; waiting for its end"]
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume(run):
    run.output.write_text("a finished output\n")
    with pytest.raises(UserError, match="is finished, or was not written by this command"):
        run(2, resume=True)
    assert run.output.read_text() == "a finished output\n"
    assert not run.leftovers()


def test_a_block_that_no_process_finishes_is_translated_again(run, expected, monkeypatch):
    """As when a machine is cut off after a claim."""
    monkeypatch.setattr(shared_blocks, "_LEAST_PATIENCE", 0)
    claim = shared_blocks.StoredParts.claim
    monkeypatch.setattr(
        shared_blocks.StoredParts, "claim", lambda self, first: first not in (7, 23) and claim(self, first)
    )
    run(2)
    assert run.output.read_bytes() == expected
    assert not run.leftovers()


def test_a_full_disk_is_reported_and_its_blocks_follow_later(run, expected, monkeypatch):
    calls, fsync = count(), os.fsync

    def full(descriptor):
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write \S+output.*: no space left on device"):
            run(1)
    assert not list(run.folder.glob("**/*.unfinished"))
    run(2)
    assert run.output.read_bytes() == expected


def test_processes_that_differ_or_share_no_files_are_refused(run, monkeypatch):
    create = text_files.ResumeNote.create
    with monkeypatch.context() as patch:
        notes = count()
        patch.setattr(
            text_files.ResumeNote, "create",
            lambda *arguments: shared_blocks.ResumeNote(run.output, f"{next(notes)} {create(*arguments).digest}"),
        )  # fmt: skip
        with pytest.raises(UserError, match="has another model, input or settings than process 0"):
            run(2)
    remove_parts(run.output)
    monkeypatch.setattr(shared_blocks, "VISIBLE_SECONDS", 0)
    monkeypatch.setattr(shared_blocks, "wait_until", lambda condition, seconds: False)
    with pytest.raises(UserError, match="cannot see it"):
        run(2)


@pytest.mark.parametrize(
    ("suffix", "decompress"), [("gz", gzip.decompress), ("bz2", bz2.decompress), ("xz", lzma.decompress)]
)
def test_a_compressed_output_equals_that_of_one_process(run, expected, suffix, decompress):
    run.output = run.folder / f"output.{suffix}"
    run(1)
    compressed = run.output.read_bytes()
    assert decompress(compressed) == expected
    run(2, killed_after=6)
    run(3)
    assert run.output.read_bytes() == compressed


def test_zstandard_needs_a_package(run, monkeypatch):
    run.output = run.folder / "output.zst"
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr("allyouneed.data.files.compression._ZSTD_MODULES", ())
    with pytest.raises(UserError, match="Zstandard is not installed"):
        run(1)
    assert not run.blocks


def test_what_processes_cannot_share_is_refused(run, monkeypatch, capsys):
    with pytest.raises(UserError, match="--interactive: only one process"):
        run(2, interactive=True)
    run.source.unlink()
    os.mkfifo(run.source)
    with pytest.raises(UserError, match="several processes need an input FILE"):
        run(2)
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "::1",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["allyouneed", "translate", str(POST_NORM), "a.docx"])
    with pytest.raises(SystemExit):
        main()
    assert "several processes translate lines, not documents" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setattr(sys, "argv", ["allyouneed", "score", str(POST_NORM), "--test", "a", "b"])
    with pytest.raises(SystemExit):
        main()
    assert "score runs in one process" in capsys.readouterr().err


def test_a_process_that_is_late_leaves_nothing(run, tmp_path):
    parts = shared_blocks.StoredParts(tmp_path / "output", "digest")
    with parts.locked(0, print):
        assert parts.claim(1)
        assert not parts.claim(1)
        remove_parts(tmp_path / "output")
        parts.store(1, shared_blocks.Part(2, "a\nb\n"))
        assert not parts.claim(3)
    assert not run.leftovers()


def torchrun(run: Path, source: Path, output: Path, *more: str) -> subprocess.Popen:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [*launch, "-m", "allyouneed", "translate", str(run), str(source), "-o", str(output)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def workers_of(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_killed_processes(tmp_path, rank):
    source, output, expected = (tmp_path / name for name in ("source", "output", "expected"))
    source.write_text("".join(f"{'abcdefgh'[i % 8]} {'hgfedcba'[i // 8 % 8]} {i % 5}\n" for i in range(40_000)))
    translate_file(Translator.load(POST_NORM), source, expected, SearchOptions(), False, print)
    process = torchrun(POST_NORM, source, output, "--max-restarts=2")
    parts = tmp_path / "output.parts"
    while not (parts.exists() and any(path.suffix == ".part" for path in parts.iterdir())):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[rank], signal.SIGKILL)
    messages = process.communicate(timeout=300)[1]
    assert process.returncode == 0, messages
    assert "continued; " in messages
    assert output.read_bytes() == expected.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"source", "output", "expected"}
