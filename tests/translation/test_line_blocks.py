"""Lines of a stream: how long they wait for each other, and what happens at its end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import count

import pytest

from allyouneed.translation.line_blocks import INTERACTIVE, PIPE, Pace, blocks_of_file, blocks_of_stream


def test_blocks_of_a_file_grow():
    assert [len(block) for block in blocks_of_file(iter(range(2000)))] == [250, 500, 1000, 250]


@pytest.mark.parametrize("pace", [PIPE, INTERACTIVE])
def test_a_line_does_not_wait_for_the_next(pace):
    next_line = threading.Event()

    def lines():
        yield "a"
        assert next_line.wait(60)
        yield "b"

    blocks = blocks_of_stream(lines(), pace)
    assert next(blocks) == ["a"]  # before "b" exists
    next_line.set()
    assert list(blocks) == [["b"]]


def test_all_lines_arrive_in_order():
    blocks = list(blocks_of_stream(iter(range(10_000)), PIPE))
    assert [line for block in blocks for line in block] == list(range(10_000))
    assert max(map(len, blocks)) > 1000  # blocks grow, since their use takes no time


def test_blocks_are_small_if_their_use_is_slow():
    blocks = blocks_of_stream(count(), Pace(0.1, 0.02))
    sizes = []
    for block in blocks:
        sizes.append(len(block))
        time.sleep(0.001 * len(block))  # 20 lines in the time of a block
        if len(sizes) == 6:
            break
    assert sizes[0] == 32
    assert all(size <= 25 for size in sizes[1:])


def test_lines_before_an_error_are_used():
    def lines():
        yield from "abc"
        raise ValueError("line 4")

    blocks = blocks_of_stream(lines(), PIPE)
    assert next(blocks) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="line 4"):
        next(blocks)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "allyouneed", "translate", *map(str, arguments)]


def test_a_pipe_is_answered_line_by_line(toy_run):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(toy_run), **pipes) as process:
        for line in (b"a b\n", b"c d e\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")  # while standard input is open
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_terminal_is_answered_line_by_line(toy_run):
    master, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(toy_run), **streams) as process:
        os.close(terminal)
        os.write(master, b"a b\n")
        assert process.stdout.readline().endswith(b"\n")
        os.write(master, b"c d\n\x04")  # Ctrl-D
        assert process.stdout.read().count(b"\n") == 1
        assert process.wait(60) == 0
        assert b"type a line" in process.stderr.read()
    os.close(master)


def test_ctrl_c_in_a_terminal_ends_the_command(toy_run):
    master, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    receiving = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # ignored by jobs in the background
    with subprocess.Popen(command(toy_run), preexec_fn=receiving, **streams) as process:
        os.close(terminal)
        os.write(master, b"a b\n")
        process.stdout.readline()
        process.send_signal(2)
        assert process.wait(60) == 130
        assert b"Traceback" not in (errors := process.stderr.read())
        assert b"Fatal" not in errors
    os.close(master)
