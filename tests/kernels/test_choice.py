"""The choice between our own and PyTorch's products, with measurements that the tests determine."""

import json

import pytest
import torch

from allyouneed import kernels
from allyouneed.kernels import choice, disk_cache


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return the speed-ups that measurements will give by width, in a process that has measured nothing yet."""
    found = {256: 0.9, 512: 1.2}
    monkeypatch.setattr(choice, "_speedups", {})
    monkeypatch.setattr(choice, "measure", found.pop)  # each width can be measured once
    monkeypatch.setattr(disk_cache, "folder", lambda: tmp_path)
    return found


def test_each_width_has_its_own_choice_and_is_measured_once(machine):
    assert [choice.is_faster(width) for width in (16, 255, 256, 496, 512, 4096)] == [False] * 4 + [True] * 2
    assert not machine
    assert choice.speedups() == {256: 0.9, 512: 1.2}


def test_narrow_layers_need_no_measurement(machine):
    assert not choice.is_faster(128)
    assert machine


def test_the_measurement_is_stored_for_the_processor(machine, monkeypatch, tmp_path):
    choice.speedups()
    [file] = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {"256": 0.9, "512": 1.2}
    monkeypatch.setattr(choice, "_speedups", {})  # another process
    assert choice.speedups() == {256: 0.9, 512: 1.2}
    monkeypatch.setattr(choice, "_speedups", {})
    monkeypatch.setattr(disk_cache, "processor_name", lambda: "Another (R) CPU @ 3.00GHz 0123abcd")
    machine.update({256: 1.3, 512: 0.5})
    assert choice.speedups() == {256: 1.3, 512: 0.5}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"256": 2}', '{"256": null, "512": 1}', '{"a": 1}', "\0"])
def test_a_damaged_file_is_measured_anew(machine, monkeypatch, text):
    choice._file().write_text(text)
    assert choice.speedups() == {256: 0.9, 512: 1.2}
    monkeypatch.setattr(choice, "_speedups", {})
    assert choice.speedups() == {256: 0.9, 512: 1.2}


def test_without_a_folder_every_process_measures(machine, monkeypatch):
    monkeypatch.setattr(disk_cache, "folder", lambda: None)
    assert choice.speedups() == {256: 0.9, 512: 1.2}


def test_adopted_values_replace_measurements(machine):
    choice.adopt({256: 1.5, 512: 0.5})
    assert choice.is_faster(256)
    assert not choice.is_faster(512)
    assert machine
    with pytest.raises(ValueError, match="128"):
        choice.adopt({128: 1.0})


def test_bf16_is_faster_by_amx_or_as_measured_once(monkeypatch, tmp_path):
    measured = {choice._BF16_WIDTH: 0.5}
    monkeypatch.setattr(choice, "_bf16_speedup", None)
    monkeypatch.setattr(choice, "measure", lambda width, bf16: measured.pop(width))
    monkeypatch.setattr(disk_cache, "folder", lambda: tmp_path)
    monkeypatch.setattr(choice, "_amx", True)
    assert choice.bf16_is_faster()
    assert measured
    monkeypatch.setattr(choice, "_amx", False)
    assert not choice.bf16_is_faster()
    assert not measured
    choice.adopt_bf16(1.5)
    assert choice.bf16_is_faster()
    choice.adopt_bf16(None)  # measured earlier, and stored
    assert choice.bf16_speedup() == 0.5


def test_a_real_measurement_is_plausible_and_leaves_the_random_state(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(choice, "_ROWS", 64)
    before = torch.get_rng_state()
    assert 0.01 < choice.measure(64) < 100
    if kernels.has_bf16():
        assert 0.01 < choice.measure(64, bf16=True) < 100
    assert torch.equal(torch.get_rng_state(), before)
