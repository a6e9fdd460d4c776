import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from allyouneed import kernels

pytest.importorskip("numba")


def test_every_part_is_done_once_by_any_number_of_threads():
    from allyouneed.kernels.launch import kernel
    from allyouneed.kernels.simd import get, put

    @kernel
    def add(part, out, amount: float):
        put(out, part, get(out, part) + amount)

    threads = torch.get_num_threads()
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        out = torch.zeros(1000)
        add(900, out, 1.5)
        assert torch.equal(out, torch.cat([torch.full((900,), 1.5), torch.zeros(100)]))
    torch.set_num_threads(threads)


def test_threads_that_come_first_together_run_one_and_the_same(monkeypatch):
    """Each its own would be freed with the last word about it: in the middle of the other's work."""
    from allyouneed.kernels import launch
    from allyouneed.kernels.simd import put

    made, compile_ = [], launch._compile

    def slowly(body):
        time.sleep(0.2)
        made.append(compile_(body))
        return made[-1]

    monkeypatch.setattr(launch, "_compile", slowly)

    @launch.kernel
    def one(part, out):
        put(out, part, 1.0)

    outs = [torch.zeros(4) for _ in range(4)]
    threads = [threading.Thread(target=one, args=(4, out)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert torch.stack(outs).eq(1).all()


def test_without_openmp_one_thread_does_all(monkeypatch):
    from allyouneed.kernels import launch
    from allyouneed.kernels.dropout import drop

    expected = drop(torch.ones(5000, 32), 5, 0.3)
    monkeypatch.setattr(launch, "_start_threads", lambda: None)
    assert torch.equal(drop(torch.ones(5000, 32), 5, 0.3), expected)


def test_kernels_are_found_on_disk_by_the_next_process(tmp_path):
    code = "import torch; from allyouneed.kernels.dropout import drop; drop(torch.ones(2, 16), 1, 0.5)"
    found = []
    for _ in range(2):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
        found.append(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True))
        assert found[-1].returncode == 0, found[-1].stderr
    assert "data saved" in found[0].stdout
    assert "data loaded" in found[1].stdout
    assert "data saved" not in found[1].stdout


def test_exp_is_exact_to_two_units_in_the_last_place():
    from allyouneed.kernels.launch import kernel
    from allyouneed.kernels.simd import exp, load, store

    @kernel
    def exponentials(part, x):
        store(x, 16 * part, exp(load(x, 16 * part)))

    x = torch.cat([torch.linspace(-87, 88, 64_000), torch.tensor([0.0, -0.0, -1e30, -torch.inf] * 4)])
    out = x.clone()
    exponentials(len(x) // 16, out)
    expected = x.double().clamp(min=-87).exp()
    assert ((out.double() - expected).abs() / expected).max() < 2 * 2**-23


def test_usable_is_a_question_of_type_and_width():
    assert kernels.usable(torch.zeros(3, 32), torch.zeros(16))
    assert not kernels.usable(torch.zeros(3, 8))
    assert not kernels.usable(torch.zeros(3, 32, dtype=torch.float64))
