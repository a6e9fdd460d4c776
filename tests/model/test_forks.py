"""Processes that are forked after a computation with several threads compute with one, and do not hang."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMPUTE = """
import os, signal, sys, warnings
import torch
torch.set_num_threads(2)
from allyouneed import ModelConfig, Transformer
sizes = {"d_model": 32, "d_ff": 64, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
guarded, threads = sys.argv[1] == "guarded", int(sys.argv[2])
if not guarded:
    os.register_at_fork = lambda **functions: None
torch.set_num_threads(threads)
model, ids = Transformer(ModelConfig(**sizes), 50), torch.randint(1, 50, (64, 60))
def compute():
    big = torch.ones(600, 600)
    assert (big @ big).sum() == 600 ** 3 and big.add(1).exp().isfinite().all()  # with OpenMP's threads
    model(ids, ids).sum().backward()
compute()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends a process that hangs
    warnings.formatwarning = lambda message, *_: f"warning: {message}\\n"
    compute()
    compute()
    os._exit(torch.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def forked(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of the forked process, its number of threads, and the warnings."""
    done = subprocess.run([sys.executable, "-c", COMPUTE, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not fork by default")
def test_a_forked_process_computes_with_one_thread_and_says_so_once():
    threads, warnings = forked("guarded", "2")
    assert threads == 1
    assert len(warnings) == 1
    assert 'multiprocessing.get_context("spawn")' in warnings[0]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not fork by default")
def test_without_the_guard_it_hangs_and_with_one_thread_nothing_changes():
    assert forked("not guarded", "2")[0] == -14  # SIGALRM
    assert forked("guarded", "1") == (1, [])
