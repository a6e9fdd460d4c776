"""A run keeps its minutes on machines of changing speed: simulations of the training loop without waiting."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from allyouneed.config import Config
from allyouneed.training import loop as loops
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.loop import FINISHED, Loop
from allyouneed.training.planning.final_scoring import plan_final
from allyouneed.training.planning.schedule import Speed, plan_for_minutes
from allyouneed.training.step import StepMetrics, TrainingState
from allyouneed.training.validation import ValidationSet

STEP, VALIDATION, BEAM = 0.1, 0.8, 0.003  # seconds per step, validation and sentence on the machine at full speed
FILES = 1.5  # seconds for the bundle, the report and the end of the process
SENTENCES = 1000


class Machine:
    """A clock that work advances; `slowness(time)` is how many times as long work takes at a time.

    Args:
        slowness: Slowness at a time in seconds.
        gaps: Interruptions: time -> seconds that pass without any work.
    """

    def __init__(self, slowness: Callable[[float], float] = lambda time: 1.0, gaps: dict[float, float] | None = None):
        self.time, self.slowness, self.gaps = 0.0, slowness, dict(gaps or {})

    def now(self) -> float:
        return self.time

    def work(self, seconds: float) -> None:
        while seconds > 0:
            for time in [time for time in self.gaps if time <= self.time]:
                self.time += self.gaps.pop(time)
            part = min(seconds, 0.05)
            self.time += part * self.slowness(self.time)
            seconds -= part


class SimulatedLoop(Loop):
    """The real loop, whose steps, validations and files only take time."""

    def step(self) -> StepMetrics:
        self.rates.append(self.plan.factor(self.state.step + 1))
        self.machine.work(STEP)
        self.state.step += 1
        return StepMetrics(1.0, 1.0, 100, None)

    def _validate(self) -> None:
        self.validated.append(self.state.step)
        untrained = 3 if self.state.step < 100 else 1  # an untrained model generates up to the length limit
        self.machine.work(VALIDATION * untrained)

    def _report_progress(self, metrics: StepMetrics) -> None:
        pass

    def save(self) -> None:
        self.machine.work(0.1)


class Silent:
    """A log that keeps plans."""

    def __init__(self):
        self.plans, self.lines = [], []

    def record(self, event, **facts):
        if event == "plan":
            self.plans.append(facts)

    def start(self, steps, step):
        pass

    def show(self, text):
        self.lines.append(text)


class Snapshots(list):
    def save(self, step, model):
        self.append(step)

    def steps(self, until=None):
        return [step for step in self if until is None or step <= until]


@pytest.fixture
def simulate(monkeypatch, tmp_path):
    """Return a function that runs the loop on a machine and returns it after the final scoring."""

    def run(machine: Machine, minutes: float, measured: float = 1.0, settings=None) -> SimulatedLoop:
        config = Config().replace(training={"minutes": minutes, "warmup": 800, **(settings or {})})
        begin = machine.time
        machine.work(2.0 + 0.04 * 60 * minutes)  # preparation and measurement
        left = 60 * minutes - (machine.time - begin)
        final = plan_final(BEAM, SENTENCES, VALIDATION, 60 * minutes)
        speed = Speed(*(seconds * measured for seconds in (STEP, VALIDATION, final)))
        plan = plan_for_minutes(config, left, speed)
        monkeypatch.setattr(loops, "BatchOrder", lambda *arguments: None)
        model = torch.nn.Identity()
        loop = SimulatedLoop(
            run=tmp_path,
            bundle=SimpleNamespace(config=config, model=model),
            plan=plan,
            state=TrainingState(model, []),
            store=None,
            valid=ValidationSet(None, [("a", "b")] * SENTENCES),
            ranks=Ranks(),
            log=Silent(),
            now=machine.now,
        )
        loop.machine, loop.snapshots, loop.kept = machine, Snapshots(), Snapshots()
        loop.rates, loop.validated, loop.stored = [], [], []
        loop.keep_plans = lambda plans: loop.stored.append(plans.as_dict())

        def sample(bundle, valid, now):
            begin = now()
            machine.work(64 * BEAM)
            return (now() - begin) / 64

        monkeypatch.setattr(loops, "time_beam_search", sample)
        assert loop.train() == FINISHED
        machine.work(2 * VALIDATION)
        loop.scored = min(SENTENCES, loop._final_sentences())
        machine.work(BEAM * (loop.scored + 120) + FILES)
        loop.took = (machine.time - begin) / (60 * minutes)
        return loop

    return run


def halves(first: float, second: float, minutes: float) -> Machine:
    return Machine(lambda time: first if time < 30 * minutes else second)


def bursts(seconds: float, shift: float = 0.0) -> Machine:
    return Machine(lambda time: 3.0 if (time + shift) % (2 * seconds) < seconds else 1.0)


def check_decay(loop: SimulatedLoop) -> None:
    """The learning rate reaches its peak, never jumps, and decays to zero."""
    peak = loop.rates.index(max(loop.rates))
    assert max(loop.rates) > 0.95
    assert loop.rates[-1] == 0
    assert peak < 0.2 * len(loop.rates)
    assert all(
        later <= earlier + 1e-9 for earlier, later in zip(loop.rates[peak:], loop.rates[peak + 1 :], strict=False)
    )
    steepest = max(abs(a - b) for a, b in zip(loop.rates[peak:], loop.rates[peak + 1 :], strict=False))
    assert steepest < max(0.05, 12 / len(loop.rates))


def check_average(loop: SimulatedLoop) -> None:
    """As many snapshots as the average needs are in the last part of the training."""
    averaged = loop._to_average()
    assert len(averaged) == loop.training.average
    assert averaged[-1] == loop.state.step
    assert averaged[0] >= 0.8 * loop.state.step


MACHINES = {
    "constant": lambda minutes: Machine(),
    "slow first": lambda minutes: halves(3, 1, minutes),
    "slow second": lambda minutes: halves(1, 3, minutes),
    "bursts": lambda minutes: bursts(20),
    "bursts, later": lambda minutes: bursts(20, shift=13),
    "bursts, opposite": lambda minutes: bursts(20, shift=20),
    "long bursts": lambda minutes: bursts(60),
    "suspended": lambda minutes: Machine(gaps={20 * minutes: 10 * minutes}),
}


@pytest.mark.parametrize("minutes", [2, 3, 10, 30])
@pytest.mark.parametrize("name", MACHINES)
def test_minutes_are_kept(simulate, name, minutes):
    machine = MACHINES[name](minutes)
    loop = simulate(machine, minutes, measured=machine.slowness(0.0))
    assert 0.95 <= loop.took <= 1.03
    check_decay(loop)
    check_average(loop)


@pytest.mark.parametrize("name", MACHINES)
def test_short_budgets_are_nearly_kept(simulate, name):
    """A slow moment during the final scoring is a larger share of a short budget."""
    loop = simulate(MACHINES[name](1.5), 1.5)
    assert 0.94 <= loop.took <= 1.04
    check_decay(loop)


@pytest.mark.parametrize("measured", [0.2, 5])
def test_a_wrong_measurement_is_corrected(simulate, measured):
    loop = simulate(Machine(), 3, measured)
    assert 0.95 <= loop.took <= 1.03
    check_decay(loop)
    assert loop.rates.index(max(loop.rates)) > 0.02 * len(loop.rates)  # warm-up follows the number of steps


def test_the_end_of_a_run_translates_no_more_than_there_is():
    """One validation sentence: timed, scored, and translated twice as a reference output."""
    assert plan_final(0.5, 1, 0.0, 60) == pytest.approx(4 * 0.5 + 1.5)
    assert plan_final(0.5, 1000, 0.0, 60) == pytest.approx((64 + 100 + 120) * 0.5 + 1.5)
