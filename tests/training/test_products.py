"""The matrix products of a run: stored with it, so that it resumes exactly, and logged."""

import pytest
import torch

from allyouneed import kernels
from allyouneed.config import load_recipe
from allyouneed.errors import UserError
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.products import agree_on_products
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.step import uses_bf16
from tests.training.test_differences import WithAnother

CPU, ALONE = torch.device("cpu"), Ranks()


@pytest.fixture
def agree(tmp_path, monkeypatch):
    """Return a function that agrees on the products of a session, given what a measurement would give there."""
    pytest.importorskip("numba")
    monkeypatch.setattr(kernels.choice, "_speedups", {})
    monkeypatch.setattr(kernels.choice, "_amx", None)
    monkeypatch.setattr(kernels.choice, "_bf16_speedup", None)
    monkeypatch.setattr(kernels.choice, "bf16_speedup", lambda: kernels.choice._bf16_speedup or 2.0)
    path = tmp_path / "run.json"
    RunRecord(path).update(asked={"languages": ["aa", "bb"], "recipe": "small", "settings": []}, config={})

    def call(measured: dict[int, float], *settings: str, ranks: Ranks = ALONE) -> list[str]:
        lines: list[str] = []
        monkeypatch.setattr(kernels.choice, "speedups", lambda: measured)
        config = load_recipe("small").override(list(settings))
        agree_on_products(config, CPU, RunRecord(path), ranks, lines.append)
        return lines

    return call


def test_a_resumed_run_keeps_its_products_on_the_same_processor(agree, monkeypatch):
    assert agree({256: 1.3, 512: 0.9}) == [
        "matrix products: our own from width 256 (own 1.30 × as fast), PyTorch's from width 512 (own 0.90 × as fast)"
    ]
    assert "our own from width 256" in agree({256: 0.8, 512: 0.9})[0]
    assert kernels.choice.is_faster(256)
    monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda: "another")
    assert "PyTorch's from width 256" in agree({256: 0.8, 512: 0.9})[0]
    assert not kernels.choice.is_faster(256)


def test_a_resumed_run_reports_what_changes_its_rounding(agree, monkeypatch):
    narrow = "model.d_model=128", "model.num_heads=4"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda: "one")
    assert agree({}, *narrow) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert agree({}, *narrow) == []  # no step was made
    monkeypatch.setattr(RunRecord, "plans", "plans")
    assert agree({}, *narrow) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda: "another")
    monkeypatch.setattr(kernels, "work", lambda: False)
    assert agree({}, *narrow) == [
        "training goes on with compiled kernels False instead of True, processor another instead of one, threads 1 "
        "instead of 3; the weights will differ from those of an uninterrupted run"
    ]
    assert agree({}, *narrow) == []


def test_nothing_is_measured_where_nothing_is_chosen(agree):
    assert agree({}, "model.d_model=128", "model.num_heads=4") == []
    assert agree({}, "training.plain=true") == []


def test_bf16_is_announced_with_what_the_processor_makes_of_it(agree, monkeypatch):
    monkeypatch.setattr(kernels, "has_bf16", lambda: True)
    for has_amx in (True, False):
        monkeypatch.setattr(kernels, "has_amx", lambda has_amx=has_amx: has_amx)
        monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda has_amx=has_amx: f"AMX: {has_amx}")
        found = "AMX" if has_amx else "AVX512_BF16"
        assert agree({}, "training.precision=bf16") == [f"matrix products: bf16 with fp32 sums ({found})"]
    monkeypatch.setattr(kernels, "has_bf16", lambda: False)
    fp32, chosen = agree({256: 1.3, 512: 1.2}, "training.precision=bf16")
    assert fp32.startswith("matrix products: fp32 instead of bf16")
    assert "our own from width 256" in chosen
    settings = load_recipe("small").override(["training.precision=bf16"]).training
    assert not uses_bf16(settings, CPU)


def test_bf16_is_used_where_it_is_faster_and_a_resumed_run_keeps_it(agree, monkeypatch):
    monkeypatch.setattr(kernels, "has_bf16", lambda: True)
    monkeypatch.setattr(kernels, "has_amx", lambda: False)
    settings = load_recipe("small").override(["training.precision=bf16"]).training
    for name, measured, is_used in (("slow", 0.31, False), ("fast", 1.9, True)):
        monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda name=name: name)
        for found in (measured, 1 / measured):  # the second time, the stored value is used
            adopted: list[float | None] = [None]
            monkeypatch.setattr(kernels.choice, "adopt_bf16", lambda speedup, adopted=adopted: adopted.append(speedup))
            monkeypatch.setattr(
                kernels.choice, "bf16_speedup", lambda found=found, adopted=adopted: adopted[-1] or found
            )
            lines = agree({256: 1.3, 512: 1.2}, "training.precision=bf16")
            if is_used:
                assert lines == ["matrix products: bf16 with fp32 sums (AVX512_BF16)"]
            else:
                reason = "which is slower on this processor (AVX512_BF16 is 0.31 × as fast)"
                assert lines[0] == f"matrix products: fp32 instead of bf16, {reason}"
                assert "our own from width 256" in lines[1]
            assert uses_bf16(settings, CPU) == is_used


def test_all_processes_multiply_in_the_same_way(agree):
    with pytest.raises(UserError, match=r"rank 1 on \S+ has products in bf16 = True, but rank 0 on \S+ has False"):
        agree({}, ranks=WithAnother(**{"compiled kernels": True, "products in bf16": True, "AMX": False}))


def test_a_resumed_run_uses_amx_if_it_did_and_can(agree, monkeypatch):
    monkeypatch.setattr(kernels, "has_bf16", lambda: True)
    found = []
    for has_amx in (False, True):
        monkeypatch.setattr(kernels, "has_amx", lambda has_amx=has_amx: has_amx)
        agree({}, "training.precision=bf16")
        found.append(kernels.choice.uses_amx())
    monkeypatch.setattr(kernels.disk_cache, "processor_name", lambda: "another")
    for has_amx in (True, False, True):
        monkeypatch.setattr(kernels, "has_amx", lambda has_amx=has_amx: has_amx)
        agree({}, "training.precision=bf16")
        found.append(kernels.choice.uses_amx())
    assert found == [False, False, True, False, True]
