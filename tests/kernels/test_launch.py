import threading
import time
from pathlib import Path

import pytest
import torch

from allyouneed import kernels

pytest.importorskip("numba")


def test_every_part_runs_once_with_any_number_of_threads():
    from allyouneed.kernels.launch import kernel
    from allyouneed.kernels.records import Floats

    @kernel
    def add(part, out: Floats, amount: float):
        out[part] = out[part] + amount

    threads = torch.get_num_threads()
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        out = torch.zeros(1000)
        add(900, out, 1.5)
        assert torch.equal(out, torch.cat([torch.full((900,), 1.5), torch.zeros(100)]))
    torch.set_num_threads(threads)


def test_a_kernel_is_compiled_once_by_concurrent_first_calls(monkeypatch):
    """A second compilation would free the first one while it runs."""
    from allyouneed.kernels import launch
    from allyouneed.kernels.records import Floats

    compiled, compile_ = [], launch._Code

    def compile_slowly(loop):
        time.sleep(0.2)
        compiled.append(compile_(loop))
        return compiled[-1]

    monkeypatch.setattr(launch, "_Code", compile_slowly)

    @launch.kernel
    def one(part, out: Floats):
        out[part] = 1.0

    outs = [torch.zeros(4) for _ in range(4)]
    threads = [threading.Thread(target=one, args=(4, out)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled) == 1
    assert torch.stack(outs).eq(1).all()


def test_python_threads_run_all_parts_without_openmp(monkeypatch):
    from allyouneed.kernels import launch
    from allyouneed.kernels.dropout import drop

    expected = drop(torch.ones(5000, 32), 5, 0.3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(launch, "_start_threads", lambda: launch._start_python_threads)
    assert torch.equal(drop(torch.ones(5000, 32), 5, 0.3), expected)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    launch._pool.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert torch.equal(drop(torch.ones(5000, 32), 5, 0.3), expected)
        assert launch._pool() is None
    launch._pool.cache_clear()


def test_pytorchs_copy_of_openmp_is_selected():
    """The path of an environment may contain "torch", and scikit-learn ships its own copy."""
    from allyouneed.kernels.launch import _of_torch

    packages = Path("/home/me/torch/lib/python3/site-packages")
    learn, system = f"{packages}/scikit_learn.libs/libgomp-1.so", "/usr/lib/libgomp.so.1"
    for ours in (f"{packages}/torch/lib/libgomp-2.so", f"{packages}/torch.libs/libgomp-2.so"):
        assert _of_torch({learn, ours, system}, packages) == ours
    assert _of_torch({system}, packages) == system
    assert _of_torch({system, learn}, packages) is None
    assert _of_torch(set(), packages) is None


def test_one_thread_applies_to_the_calling_python_thread(monkeypatch):
    from allyouneed.kernels import launch
    from allyouneed.kernels.dropout import drop

    calls = []
    monkeypatch.setattr(launch, "_start_threads", lambda: calls.append(1) or launch._start_python_threads)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    expected = drop(torch.ones(5000, 32), 5, 0.3)
    assert calls == [1]
    with launch.threads(1):
        assert torch.equal(drop(torch.ones(5000, 32), 5, 0.3), expected)
        assert calls == [1]
        other = threading.Thread(target=drop, args=(torch.ones(5000, 32), 5, 0.3))
        other.start()
        other.join()
    assert calls == [1, 1]
    drop(torch.ones(5000, 32), 5, 0.3)
    assert calls == [1, 1, 1]


def test_kernels_are_compiled_silently_without_a_writable_cache(monkeypatch, recwarn):
    from allyouneed.kernels import launch
    from allyouneed.kernels.records import Floats

    monkeypatch.setattr(launch.disk_cache, "folder", lambda: None)

    @launch.kernel
    def triple(part, out: Floats):
        out[part] = 3 * out[part]

    out = torch.ones(5)
    triple(5, out)
    assert out.eq(3).all()
    assert not recwarn.list


def test_the_functions_of_a_kernel_are_its_own(monkeypatch):
    """A kernel from the cache may contain an earlier version of a function, under the same name."""
    from allyouneed.kernels import launch
    from allyouneed.kernels.compiler import kernel_function
    from allyouneed.kernels.records import Floats

    monkeypatch.setattr(launch.disk_cache, "folder", lambda: None)

    @kernel_function
    def squared(value):
        return value * value

    def square(part, out: Floats):
        out[part] = squared(out[part])

    code = launch._Code(launch._loop(square, launch._arguments(square)))
    functions = [each for each in code._library._final_module.functions if not each.is_declaration]
    assert {each.name.startswith("cfunc.") for each in functions if each.linkage.name != "internal"} == {True}


def test_float_parameters_take_whole_numbers():
    from allyouneed.kernels.launch import kernel
    from allyouneed.kernels.records import Floats

    @kernel
    def fill(part, out: Floats, amount: float):
        out[part] = amount

    out = torch.zeros(4)
    for amount in (3, 2.5, True):
        fill(4, out, amount)
        assert out.eq(float(amount)).all()


def test_exp_is_accurate_to_two_units_in_the_last_place():
    from allyouneed.kernels.launch import kernel
    from allyouneed.kernels.records import Floats
    from allyouneed.kernels.simd import exp
    from allyouneed.kernels.simd_memory import load, store

    @kernel
    def exponentials(part, x: Floats):
        store(x, 16 * part, exp(load(x, 16 * part)))

    x = torch.cat([torch.linspace(-87, 88, 64_000), torch.tensor([0.0, -0.0, -1e30, -torch.inf] * 4)])
    out = x.clone()
    exponentials(len(x) // 16, out)
    expected = x.double().clamp(min=-87).exp()
    assert ((out.double() - expected).abs() / expected).max() < 2 * 2**-23


def test_usable_depends_on_type_and_width():
    assert kernels.usable(torch.zeros(3, 32), torch.zeros(16))
    assert not kernels.usable(torch.zeros(3, 8))
    assert not kernels.usable(torch.zeros(3, 32, dtype=torch.float64))
