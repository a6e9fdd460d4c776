"""Processor time and energy of commands, and costs until a BLEU score."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import energy
from benchmarks.measure import usage as usage_module
from benchmarks.measure.energy_trainers import Trainer
from benchmarks.measure.usage import Meter, Usage, run_measured, session_seconds

# Two processes compute for 0.3 s each; the first waits for the second, then for the file.
BUSY = """
import os, sys, time
child = os.fork()
while time.process_time() < 0.3:
    pass
if child:
    os.waitpid(child, 0)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


@needs_proc
def test_processor_time_includes_child_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(usage_module, "_INTERVAL", 0.05)
    seen = tmp_path / "seen"

    def look(usage: Usage) -> None:
        if usage.cpu_seconds >= 0.55:
            seen.touch()

    command = [sys.executable, "-c", BUSY, str(seen)]
    assert run_measured(command, 60, look, tmp_path / "log").cpu_seconds >= 0.55
    assert session_seconds(2**30) == 0


@needs_proc
def test_a_command_is_stopped_in_time_and_failures_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(usage_module, "_INTERVAL", 0.05)
    log = tmp_path / "log"
    run_measured([sys.executable, "-c", "import time; time.sleep(1000)"], 0, lambda usage: None, log)
    with pytest.raises(SystemExit, match=r"see .*log"):
        run_measured([sys.executable, "-c", "raise SystemExit(3)"], 60, lambda usage: None, log)


def test_the_meter_adds_packages_and_survives_wrapping(tmp_path):
    for name, value in (("intel-rapl:0", 90), ("intel-rapl:1", 10), ("intel-rapl:0:0", 5)):  # the last is a part
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(value))
        (tmp_path / name / "max_energy_range_uj").write_text("99")
    meter = Meter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("20")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("15")
    assert meter.joules() == pytest.approx((30 + 5) / 1e6)
    assert Meter(tmp_path / "none").joules() is None


def test_usage_adds_up():
    assert Usage(1, 2, None) + Usage(3, 4, None) == (4, 6, None)
    assert Usage(1, 2, 5.0) + Usage(3, 4, 6.0) == (4, 6, 11.0)


class Fake(Trainer):
    """Saves two models and is never finished; a model's BLEU is the sum of the averaged models' numbers."""

    averaged = 2

    def command(self, minutes):
        return ["train"]

    def saved(self):
        return sorted(self.folder.glob("saved-*"))

    def bleu(self, folders):
        return sum(float(path.read_text()) for folder in folders for path in folder.iterdir())


def test_a_stopped_measurement_continues(tmp_path, monkeypatch):
    trainer = Fake("fake", tmp_path, tmp_path, tmp_path, "")
    (tmp_path / "models").mkdir()

    def run(command, seconds, look, log):
        for number in (1, 2):
            first = len(trainer.saved())
            (tmp_path / f"saved-{first}").write_text(str(10 * (first + 1)))
            look(Usage(number * 20.0, number * 40.0, None))
        return Usage(60.0, 120.0, None)

    monkeypatch.setattr(energy, "run_measured", run)
    for _ in range(3):  # the third call has no time left
        energy.train(trainer, minutes=2, slice_minutes=1)
        energy.score(trainer)
    points = energy.read_curve(tmp_path)
    assert [point["cpu_seconds"] for point in points] == [40, 80, 120, 160, 200, 240]
    assert [point["bleu"] for point in points] == [10, 10 + 20, None, 20 + 30, 30 + 40, None]
    assert len(list((tmp_path / "models").iterdir())) == 2
    assert energy.reached(points, 30)["cpu_seconds"] == 80
    table = energy.table({"fake": points})
    assert "| 20 | 80 CPU s (0.7 min) |" in table
    assert "| best | 70.00: 200 CPU s (1.7 min) |" in table
    assert energy.reached(points, 71) is None
    assert json.loads((tmp_path / "curve.json").read_text()) == points
