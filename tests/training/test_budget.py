"""Budgets of minutes in real runs: what is compiled before, what is stored, and what is said at the end."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from allyouneed import kernels
from allyouneed.config import Config
from allyouneed.data.batches import Position
from allyouneed.training.compilation import Compilation
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.loop import Loop
from allyouneed.training.planning import pacing
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.measure import measure_steps
from allyouneed.training.planning.schedule import PlanHistory, TrainingPlan
from allyouneed.training.reporting.undertraining import undertraining
from allyouneed.training.step import TrainingState
from allyouneed.training.train import FINISHED, train
from tests.conftest import silent, toy_request
from tests.training.ranks import train_in_two_ranks
from tests.training.test_resume import losses


def timed_request(folder: Path, *settings: str):
    request = toy_request(folder / "text", folder / "run", ["training.log_every=1", *settings])
    kept = ("training.steps", "training.validate_every", "training.warmup")
    return dataclasses.replace(request, settings=[each for each in request.settings if not each.startswith(kept)])


def records(run: Path, event: str) -> list[dict]:
    lines = (run / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def stored_plans(run: Path) -> PlanHistory:
    return PlanHistory.from_dict(json.loads((run / "run.json").read_text()))


class SlowLoop:
    """A loop whose steps take a given time, without a model."""

    def __init__(self, step_seconds: float):
        self.ranks, self.steps, self._step_seconds = Ranks(), 0, step_seconds

    def now(self) -> float:
        return self.steps * self._step_seconds

    def step(self) -> None:
        self.steps += 1


@pytest.mark.parametrize(("step_seconds", "steps"), [(0.1, 43), (1.0, 8), (2.0, 7), (10.0, 3)])
def test_few_steps_are_measured_on_a_slow_machine(step_seconds, steps):
    """The speed of a plan for 1.5 minutes is measured for 4 seconds. With steps of 10 seconds, it took 80."""
    loop = SlowLoop(step_seconds)
    assert measure_steps(loop, Stopwatch(loop.now), 4.0) == pytest.approx(step_seconds)
    assert loop.steps == steps


def test_a_stopwatch_can_be_paused():
    times = iter([0.0, 10.0, 40.0, 45.0])
    watch = Stopwatch(lambda: next(times))
    with watch.pause():
        pass
    assert watch.seconds == 15.0


EVENTS = """
import sys
from pathlib import Path
from allyouneed.kernels import launch
from allyouneed.training.compilation import Compilation
from allyouneed.training.loop import Loop
from allyouneed.training.train import train
from tests.conftest import silent
from tests.training.test_budget import timed_request

events, real = [], launch._loop  # of a kernel that is loaded or compiled
launch._loop = lambda body, arguments: events.append(body.__name__) or real(body, arguments)

def observe(kind, name):
    method = getattr(kind, name)
    def observed(self):
        events.append(name)
        result = method(self)
        if kind is Compilation:
            events.append("done")
        return result
    setattr(kind, name, observed)

observe(Compilation, "prepare_training"), observe(Compilation, "prepare_search"), observe(Loop, "step")
train(timed_request(Path(sys.argv[1]), "training.minutes=0.02"), silent())
print(*events, sep="\\n")
"""


@pytest.mark.usefixtures("toy_run")  # fills the cache
def test_all_is_compiled_when_the_clock_stands_still(tmp_path):
    """The kernels of training are there before the first step, those of search before the first translation."""
    command = [sys.executable, "-c", EVENTS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    events = done.stdout.splitlines()
    step, search = events.index("step"), events.index("prepare_search")
    assert {"_token_loss", "_attend_backward", "_drop"} <= set(events[:step])
    assert "greedy" not in events[:step]
    ready = events.index("done", search)
    assert {"greedy", "search_beam", "encode"} <= set(events[search:ready])
    assert set(events[ready:]) == {"done", "prepare_search", "step"}


@pytest.mark.parametrize(
    ("model", "training", "device", "trains", "searches"),
    [
        ({}, {}, "cpu", True, True),
        ({"d_model": 520, "num_heads": 65}, {}, "cpu", False, True),  # heads of 8 values
        ({}, {"plain": True}, "cpu", False, False),
        ({}, {}, "cuda", False, False),
    ],
)
def test_kernels_are_compiled_where_the_run_uses_them(monkeypatch, model, training, device, trains, searches):
    calls, lines, clock = [], [], [5.0]

    def precompile(groups, on_cold):
        calls.extend(groups)
        clock[0] += 100
        on_cold()

    monkeypatch.setattr("allyouneed.kernels.precompile.precompile", precompile)
    monkeypatch.setattr("allyouneed.kernels.launch.load_kernel", lambda name: False)
    monkeypatch.setattr("allyouneed.kernels.precompile.mark_complete", lambda names, group: None)
    watch = Stopwatch(lambda: clock[0])
    config = Config().replace(model=model, training=training)
    compilation = Compilation(config, torch.device(device), Ranks(), lines.append, watch)
    compilation.prepare_training()
    assert len(calls) == trains
    compilation.prepare_search()
    assert watch.now_running() == 0
    assert len(calls) == trains + 2 * searches
    assert len(lines) == 2 * (trains + searches)  # before and after


def test_nothing_is_compiled_here_if_that_has_crashed_another_process(monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.capabilities._tests", kernels.capabilities._make_tests())
    kernels.capabilities.assume()
    crash = lambda on_wait: kernels.capabilities.give_up("Aborted", is_stored=False)  # noqa: E731
    monkeypatch.setattr("allyouneed.kernels.background.finish_early", crash)
    monkeypatch.setattr("allyouneed.kernels.precompile.precompile", lambda *a: pytest.fail("compiles"))
    with pytest.warns(kernels.capabilities.KernelWarning, match="Aborted"):
        Compilation(Config(), torch.device("cpu"), Ranks(), print, Stopwatch()).prepare_training()


def test_search_waits_for_no_process_if_its_kernels_are_there(monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.launch.load_kernel", lambda name: True)
    monkeypatch.setattr("allyouneed.kernels.disk_cache.locked", lambda on_wait: pytest.fail("waits"))
    lines = []
    Compilation(Config(), torch.device("cpu"), Ranks(), lines.append, Stopwatch()).prepare_search()
    assert not lines


@pytest.mark.slow
def test_kernels_are_compiled_into_an_empty_cache(tmp_path):
    """Several processes fill the cache, and the next start finds everything in it."""
    script = """
from allyouneed.kernels import background
background.compile_early()
import torch
from allyouneed.config import Config
from allyouneed.training.compilation import Compilation
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.planning.clock import Stopwatch
compilation = Compilation(Config(), torch.device("cpu"), Ranks(), print, Stopwatch())
compilation.prepare_training()
compilation.prepare_search()
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    outputs = [subprocess.check_output(command, env=environment, text=True) for _ in range(2)]
    assert outputs[0].count("for this machine (once, not counted in --minutes)") == 2
    assert outputs[1] == ""


@pytest.mark.usefixtures("toy_run")
def test_replanned_steps_are_repeated_exactly(tmp_path, monkeypatch):
    """After a crash, steps between the checkpoint and the last plan before the crash are repeated exactly."""
    monkeypatch.setattr(pacing, "_PLANNED_SHARE", 0.005)
    request = timed_request(tmp_path, "training.minutes=0.1", "training.save_minutes=0.01")
    original = Loop.step

    def step_or_crash(loop: Loop):
        saved = list(request.out.glob("checkpoints/*"))
        if saved and loop.state.step % 5 == 0 and stored_plans(request.out).last.turned_at > 10:
            raise InterruptedError
        return original(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step_or_crash)
        with pytest.raises(InterruptedError):
            train(request, silent())
    before, stored = dict(losses(request.out)), json.loads((request.out / "run.json").read_text())
    rates = {record["step"]: record["learning_rate"] for record in records(request.out, "train")}
    last = PlanHistory.from_dict(stored).last.turned_at  # after it, the resumed run may plan anew
    assert last > 10
    assert train(request, silent()).status == FINISHED
    after = dict(losses(request.out))
    assert all(after[step] == loss for step, loss in before.items() if step <= last + 2)
    repeated = {r["step"]: r["learning_rate"] for r in records(request.out, "train")}
    assert all(repeated[step] == rate for step, rate in rates.items() if step <= last + 1)
    resumed = json.loads((request.out / "run.json").read_text())
    plans, earlier = (PlanHistory.from_dict(facts).plans for facts in (resumed, stored))
    assert plans[: len(earlier)] == earlier
    assert records(request.out, "train")[-1]["learning_rate"] == 0


@pytest.mark.slow  # three processes
def test_two_ranks_share_the_plans(tmp_path):
    request = timed_request(tmp_path, "training.minutes=0.03")
    train_in_two_ranks(request, tmp_path)
    plan = json.loads((request.out / "run.json").read_text())["plan"]
    assert records(request.out, "stop")[-1]["step"] == plan["steps"]


def plan(steps: int, budget: float, minutes: float = 10.0) -> TrainingPlan:
    return TrainingPlan(steps, 5, "linear", 1.0, 10, 2, minutes=minutes, budget=budget)


@pytest.mark.parametrize(
    ("plans", "step", "passes", "cause"),
    [
        ([plan(1000, 590.0)], 1000, 4, ""),
        ([plan(1000, 590.0)], 800, 4, ""),
        ([plan(1000, 200.0)], 300, 1, r"preparing the text and measuring the speed took 6.7 of the 10 minutes"),
        ([plan(1000, 590.0), plan(300, 590.0)], 300, 4, "the machine was 3.3 times slower than at the start"),
        ([plan(1000, 200.0), plan(2000, 1400.0, minutes=30.0)], 2000, 4, ""),  # extended
        ([plan(40, 590.0)], 40, 4, "10 minutes allow no more"),
        ([plan(1000, 590.0)], 1000, 0, "less than one pass through the text"),
        ([dataclasses.replace(plan(40, 1.0), budget=None)], 40, 4, ""),
    ],
)
def test_an_under_trained_run_is_called_that(plans, step, passes, cause):
    described = undertraining(PlanHistory(plans), TrainingState(None, [], step, Position(passes, 0)))
    assert cause in described
    assert bool(described) == bool(cause)
