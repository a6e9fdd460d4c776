"""The test of what kernels need of Numba: every broken capability is found, reported once, and replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch

from allyouneed import UserError, kernels
from allyouneed.kernels import capabilities
from allyouneed.kernels.capabilities import AMX, BF16, BYTES, COMPILE, IMPORT, STORE, THREADS, KernelWarning

pytest.importorskip("numba")

POPEN = subprocess.Popen
PROCESSES: list[subprocess.Popen] = []
ROOT = Path(__file__).parents[2]
# What is broken, and code that breaks it at the start of the self-test's process.
BREAKS = {
    "an internal module is gone": (IMPORT, "sys.modules['numba.core.ccallback'] = None"),
    "an internal class is gone": (IMPORT, "import numba.core.codegen as c; del c.JITCodeLibrary"),
    "a compiler pass is gone": (IMPORT, "import numba.core.untyped_passes as p; del p.ReconstructSSA"),
    "LLVM rejects the code": (COMPILE, "from llvmlite import ir; ir.PointerType.__str__ = lambda self: 'pointer'"),
    "LLVM crashes": (COMPILE, "import numba.core.codegen as c; c.JITCodeLibrary._finalize_specific = os.abort"),
    "results are wrong": (COMPILE, "from allyouneed.kernels import lanes; lanes.LANES = 8"),
    "the cache's file format": (
        STORE,
        "from numba.core.compiler import CompileResult as r; r._reduce = lambda self: ()",
    ),
    "OpenMP crashes": (
        THREADS,
        "from allyouneed.kernels import launch; launch._libgomp = lambda: os.kill(os.getpid(), 11)",
    ),
    "LLVM crashes on byte products": (
        BYTES,
        "from allyouneed.kernels import product; product._sum_of_integers = lambda *a: os.abort()",
    ),
    "bf16 products are wrong": (BF16, "from allyouneed.kernels import bf16; bf16.LANES = 8"),
    "AMX is not configured": (AMX, "from allyouneed.kernels import amx; amx._CONFIGURATION = bytes(64)"),
}


@pytest.fixture
def untested(monkeypatch, tmp_path):
    """A machine on which nothing was tested yet; returns the folder of compiled kernels."""
    monkeypatch.setattr(capabilities.disk_cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(capabilities, "_tests", capabilities._make_tests())
    kernels.has_vnni.cache_clear()
    yield tmp_path
    kernels.has_vnni.cache_clear()
    while PROCESSES:
        PROCESSES.pop().wait()


def another_process(monkeypatch) -> None:
    """Forget what this process knows."""
    monkeypatch.setattr(capabilities, "_tests", capabilities._make_tests())


def result_of(monkeypatch, *output: str, code: int = 0, then: str = "", of: str = "") -> list[list[str]]:
    """Replace the self-test by a process with this output and exit code; return a list of started processes.

    The process runs `then` before it ends. The test of another capability than `of` passes.
    """
    end = f"os.kill(os.getpid(), {-code})" if code < 0 else f"sys.exit({code})"
    started = list[list[str]]()

    def start(command, **options):
        started.append(command)
        fake = f"import os, sys, time\nprint({chr(10).join(output)!r}, flush=True)\n{then}\n{end}"
        if command[4:5] != [of]:
            fake = "print('passed')"
        PROCESSES.append(POPEN([sys.executable, "-S", "-c", fake], **options))
        return PROCESSES[-1]

    monkeypatch.setattr(capabilities.processes.subprocess, "Popen", start)
    return started


def test_a_result_is_stored_for_these_versions(untested, monkeypatch):
    started = result_of(monkeypatch, "passed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert kernels.work()
            another_process(monkeypatch)
        assert len(started) == 1
        monkeypatch.setattr(capabilities.disk_cache, "version", lambda name: "another")
        assert kernels.work()
    assert len(started) == 2
    assert len(list(untested.glob("self-test-*"))) == 1


@pytest.mark.parametrize(
    ("output", "code", "capability", "reason"),
    [
        ((IMPORT, "ImportError: no name 'CFunc'"), 1, IMPORT, "ImportError: no name 'CFunc'"),
        ((IMPORT, COMPILE, "RuntimeError: parsing error"), 1, COMPILE, "RuntimeError: parsing error"),
        ((IMPORT, COMPILE), -6, COMPILE, "Aborted"),
        ((IMPORT, COMPILE, STORE), -11, STORE, "Segmentation fault"),
        ((IMPORT, COMPILE, STORE), 3, STORE, "exit code 3"),
        ((), 1, IMPORT, "exit code 1"),
    ],
)
def test_a_failure_is_reported_once_in_one_line(untested, monkeypatch, output, code, capability, reason):
    started = result_of(monkeypatch, *output, code=code)
    with pytest.warns(KernelWarning) as caught:
        assert [kernels.work(), kernels.available(), kernels.usable(torch.zeros(2, 16))] == [False] * 3
    [warning] = [str(each.message) for each in caught]
    assert "\n" not in warning
    for part in (capability, reason, "numba 0.", "llvmlite 0.", "Python 3.", "pip install", str(untested)):
        assert part in warning
    another_process(monkeypatch)
    with pytest.warns(KernelWarning, match="which is slower"):
        assert not kernels.work()
    assert len(started) == 1


@pytest.mark.parametrize(("code", "error"), [(-9, ""), (1, "MemoryError: out of memory"), (1, "OSError: disk full")])
def test_accidents_are_tested_again(untested, monkeypatch, code, error):
    result_of(monkeypatch, COMPILE, error, code=code)
    with pytest.warns(KernelWarning):
        assert not kernels.work()
    assert not list(untested.iterdir())

    def refuse(command, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    another_process(monkeypatch)
    monkeypatch.setattr(capabilities.processes.subprocess, "Popen", refuse)
    capabilities.begin()
    with pytest.warns(KernelWarning, match="temporarily unavailable"):
        assert not kernels.work()


def test_without_openmp_threads_kernels_still_work(untested, monkeypatch):
    result_of(monkeypatch, THREADS, code=-11)
    with pytest.warns(KernelWarning, match="Python's threads"):
        assert kernels.work()
    assert capabilities.openmp_fails()
    kernels.launch._start_threads.cache_clear()
    assert kernels.launch._start_threads() is kernels.launch._start_python_threads
    kernels.launch._start_threads.cache_clear()


def test_nothing_is_tested_if_compilation_is_disabled(untested, monkeypatch):
    started = result_of(monkeypatch, "passed")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    capabilities.begin()
    with pytest.warns(KernelWarning, match="NUMBA_DISABLE_JIT is set"):
        assert not kernels.work()
    assert not started
    another_process(monkeypatch)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "0")
    assert kernels.work()


def test_a_test_that_was_begun_is_finished(untested, monkeypatch):
    started = result_of(monkeypatch, "passed")
    capabilities.begin()
    capabilities.begin()
    assert kernels.work()
    capabilities.begin()
    assert len(started) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"capability": ""}'])
def test_a_damaged_result_is_replaced(untested, monkeypatch, content):
    started = result_of(monkeypatch, "passed")
    capabilities._tests[""].file().write_bytes(content)
    assert kernels.work()
    another_process(monkeypatch)
    assert kernels.work()
    assert len(started) == 1


def test_without_a_folder_every_process_tests(untested, monkeypatch):
    started = result_of(monkeypatch, "passed")
    monkeypatch.setattr(capabilities.disk_cache, "folder", lambda: None)
    assert kernels.work()
    assert len(started) == 1


def test_a_server_does_not_wait_for_the_test_at_its_start(untested, monkeypatch):
    from allyouneed.translation.warming import can_store

    monkeypatch.setattr(
        capabilities.processes.subprocess, "Popen", lambda *a, **k: pytest.fail("nothing may be tested")
    )
    assert can_store()
    monkeypatch.setattr(capabilities.disk_cache, "folder", lambda: None)
    assert not can_store()


def test_everything_runs_in_pytorch_after_a_failure(untested, monkeypatch, toy_run):
    from allyouneed import Translator
    from allyouneed.model.transformer import Transformer
    from allyouneed.translation.warming import compile_all, warm

    result_of(monkeypatch, "passed")
    [expected] = Translator.load(toy_run).translate(["a b c"])
    another_process(monkeypatch)
    for file in untested.iterdir():
        file.unlink()
    result_of(monkeypatch, COMPILE, code=-4)
    translator = Translator.load(toy_run)
    with pytest.warns(KernelWarning, match="Illegal instruction"):
        [found] = translator.translate(["a b c"])
    assert type(translator.engine) is Transformer
    monkeypatch.setattr(capabilities.processes, "start", lambda *a, **k: pytest.fail("nothing may be compiled"))
    kernels.background.compile_in_background()
    assert found.text == expected.text
    compile_all(lambda: pytest.fail("nothing may be compiled"))
    with pytest.raises(UserError, match="see the warning above"):
        warm(print)
    with pytest.raises(UserError, match="int8 needs"):
        Translator.load(toy_run, compute_type="int8")


def test_the_test_goes_on_to_compile_after_it_has_passed(untested, monkeypatch):
    """The result is there before the process ends, and a crash after it is not the test's."""
    [started] = [result_of(monkeypatch, "passed", then="time.sleep(60)")]
    process = capabilities.begin(kernels=("attention",))
    assert started[0][-1] == "attention"
    assert kernels.work()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_test_without_progress_is_ended(untested, monkeypatch):
    monkeypatch.setattr(capabilities, "_SECONDS", 0.2)
    result_of(monkeypatch, COMPILE, then="time.sleep(60)")
    with pytest.warns(KernelWarning, match=f"{COMPILE} failed .*no result after 0.2 seconds"):
        assert not kernels.work()


def test_without_byte_products_only_int8_and_screening_are_missing(vnni, untested, monkeypatch, toy_run):
    from allyouneed import Translator

    started = result_of(monkeypatch, BYTES, code=-4, of=BYTES)
    assert kernels.work()
    assert len(started) == 1
    translator = Translator.load(toy_run)
    with pytest.warns(KernelWarning, match="compute_type=int8 is not available.*Illegal instruction"):
        [found] = translator.translate(["a b c"])
    assert len(started) == 2
    assert translator.engine.decoder.screen is None
    with pytest.raises(UserError, match="int8 needs"):
        Translator.load(toy_run, compute_type="int8")
    monkeypatch.undo()
    kernels.has_vnni.cache_clear()
    assert [found.text] == [each.text for each in Translator.load(toy_run).translate(["a b c"])]


def test_without_amx_bf16_products_are_slower(untested, monkeypatch):
    if not (kernels.target.has_amx() and kernels.matmul.matmul_amx.amx.request()):
        pytest.skip("the processor has no AMX")
    result_of(monkeypatch, AMX, code=-4, of=AMX)
    monkeypatch.setattr(kernels.choice, "_amx", None)
    for function in (kernels.has_amx, kernels.has_bf16):
        monkeypatch.setattr(kernels, function.__name__, function.__wrapped__)
    with pytest.warns(KernelWarning, match="without AMX, which is slower: .*Illegal instruction"):
        assert kernels.has_bf16()
    assert not kernels.choice.uses_amx()


def test_kernels_are_given_up_if_one_cannot_be_compiled(untested, monkeypatch):
    """Numba's errors have many lines and types."""
    from allyouneed.kernels import precompile

    def fail(name):
        raise TypeError("a pass is missing\nin line 3")

    result_of(monkeypatch, "passed")
    monkeypatch.setattr(precompile, "load_kernel", lambda name: False)
    monkeypatch.setattr(precompile, "compile_kernel", fail)
    assert kernels.work()
    with pytest.warns(KernelWarning, match=r"TypeError: a pass is missing\)"):
        precompile.precompile([["dropout._drop"]], lambda: None)
    assert not kernels.work()
    another_process(monkeypatch)
    assert not capabilities.may_work()
    monkeypatch.setattr(precompile.disk_cache, "mark_complete", lambda: pytest.fail("nothing is compiled"))
    with pytest.warns(KernelWarning):
        precompile.fill_cache()


@pytest.mark.parametrize(("code", "works"), [(-11, False), (-6, False), (-9, True), (1, True)])
def test_kernels_are_given_up_if_compiling_in_the_background_crashes(untested, monkeypatch, code, works):
    """A process that was killed, or ended by itself, is no reason."""
    result_of(monkeypatch, "passed")
    monkeypatch.setattr(kernels.background, "_process", types.SimpleNamespace(poll=lambda: code))
    with warnings.catch_warnings(record=True) as caught:
        assert not kernels.background.pending()
        assert kernels.available() is works
    assert len(caught) == (not works)


@pytest.mark.slow  # starts a process for each
@pytest.mark.parametrize("name", BREAKS)
def test_the_self_test_finds_what_is_broken(name, tmp_path):
    capability, code = BREAKS[name]
    text = f"import os, sys\n{code}\nfrom allyouneed.kernels.self_test import main\nmain()"
    tested = capability if capability in (BYTES, BF16, AMX) else ""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", text, tested], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    reached = [line for line in done.stdout.splitlines() if line in capabilities.CAPABILITIES]
    assert reached[-1] == capability, done.stderr
    assert capabilities.PASSED not in done.stdout.splitlines()


def test_the_tested_releases_are_the_allowed_ones():
    project, constraints = ((ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt"))
    oldest, newest = capabilities.TESTED
    assert f'"numba>={oldest.removesuffix(".0")};' in project
    assert f"\nnumba=={newest}\n" in constraints
