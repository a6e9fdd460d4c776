import json
from dataclasses import replace

import pytest

from allyouneed.config import Config
from allyouneed.training.planning.schedule import (
    PlanHistory,
    Speed,
    TrainingPlan,
    extend,
    paper_peak,
    plan_again,
    plan_for_minutes,
    plan_for_steps,
)


@pytest.mark.parametrize("step", [1, 100, 4000, 4001, 100_000])
def test_equation_3(step):
    plan = plan_for_steps(Config())
    expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
    assert plan.learning_rate * plan.factor(step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"), [(1, 1.74693e-7), (4000, 6.98771e-4), (16_000, 3.49386e-4), (100_000, 1.39754e-4)]
)
def test_learning_rates_by_hand(step, rate):
    """512^-0.5 is 0.0441942; 4000^-1.5 is 3.95285e-6; √4,000, √16,000, √100,000 are 63.2456, 126.491, 316.228."""
    plan = plan_for_steps(Config())
    assert plan.learning_rate * plan.factor(step) == pytest.approx(rate, rel=1e-5)


def test_the_papers_peak():
    assert paper_peak(512, 4000) == pytest.approx(6.99e-4, rel=1e-3)


def test_linear_decay_ends_at_zero():
    plan = TrainingPlan(steps=100, warmup=20, decay="linear", learning_rate=1.0, validate_every=10, average_every=2)
    assert [plan.factor(step) for step in (1, 10, 20, 60, 100)] == [0.05, 0.5, 1.0, 0.5, 0.0]


def test_minutes_become_steps():
    config = Config().replace(training={"minutes": 10, "warmup": 4000})
    plan = plan_for_minutes(config, 600, Speed(0.5, 2.0, 10.0))
    assert plan.decay == "linear"
    assert plan.warmup < plan.steps * 0.1
    assert plan.average_every * config.training.average <= plan.steps * 0.1
    validations = plan.steps // plan.validate_every
    spent = plan.steps * 0.5 + validations * 2.0 + 10
    assert 500 < spent <= 600


def test_the_number_of_steps_is_corrected_under_a_budget():
    training = Config().replace(training={"average": 2}).training
    plan = TrainingPlan(100, 10, "linear", 1.0, validate_every=10, average_every=2, minutes=1.0, budget=50.0)
    assert plan_again(plan, training, 40, 20.2, 0.5) is plan  # on schedule
    slower, faster = plan_again(plan, training, 40, 20.0, 1.0), plan_again(plan, training, 40, 20.0, 0.25)
    assert (slower.steps, faster.steps) == (69, 159)  # 0.5 % of the budget is in reserve
    for turned in (slower, faster):
        assert turned.factor(40) == pytest.approx(plan.factor(40))  # the learning rate is continuous
        assert turned.factor(turned.steps) == 0
        middle = (40 + turned.steps) / 2
        assert turned.factor(middle) == pytest.approx(plan.factor(40) / 2)
    again = plan_again(slower, training, 60, 35.0, 0.5)
    assert again.factor(60) == pytest.approx(slower.factor(60))
    late = plan_again(plan, training, 80, 1000.0, 1.0)  # no time is left: a short decay, from a lower rate
    assert late.steps == 81
    assert plan_again(plan, training, 30, 1000.0, 1.0).steps == 32
    assert plan_again(TrainingPlan(100, 10, "linear", 1.0, 10, 2), training, 40, 25.0, 9.0).steps == 100  # no budget


def test_warm_up_follows_the_number_of_steps():
    config = Config().replace(training={"minutes": 10, "warmup": 800})
    plan = plan_for_minutes(config, 600, Speed(1.0, 2.0, 10.0))
    faster = plan_again(plan, config.training, 20, 5.0, 0.25)
    assert faster.warmup == pytest.approx(4 * plan.warmup, rel=0.1)
    assert faster.factor(20) == pytest.approx(plan.factor(20))
    assert faster.factor(faster.warmup) == 1
    slower = plan_again(plan, config.training, 40, 40.0, 4.0)
    assert slower.warmup == 41  # it ends at once
    fixed = plan_for_minutes(config, 600, Speed(1.0, 2.0, 10.0), explicit={"training.warmup"})
    assert plan_again(fixed, config.training, 20, 5.0, 0.25).warmup == 800


def test_the_plan_of_every_step_is_known():
    plans = [
        TrainingPlan(100, 10, "linear", 1.0, 10, 2, turned_at=turned, turned_factor=factor)
        for turned, factor in ((0, 1.0), (20, 0.8), (50, 0.5))
    ]
    history = PlanHistory(plans)
    assert [plans.index(history.after(step)) for step in (0, 19, 20, 49, 50, 99)] == [0, 0, 1, 1, 2, 2]
    assert [plans.index(history.at(step)) for step in (0, 1, 20, 21, 50, 51)] == [0, 0, 0, 1, 1, 2]
    assert PlanHistory.from_dict(json.loads(json.dumps(history.as_dict()))).plans == plans
    assert "earlier_plans" not in {key for key, value in PlanHistory(plans[:1]).as_dict().items() if value}


def test_plans_of_earlier_versions_are_read():
    stored = {
        **{"steps": 100, "warmup": 10, "decay": "linear", "learning_rate": 1.0, "validate_every": 10},
        **{"average_every": 2, "minutes": 1.0, "budget": 50.0, "turned_at": 40, "turned_factor": 0.5},
    }
    [plan] = PlanHistory.from_dict({"plan": stored}).plans
    assert [plan.factor(step) for step in (40, 70, 100)] == [0.5, 0.25, 0]
    assert plan.validates(50)
    assert not plan.validates(51)


@pytest.mark.parametrize("decay", ["linear", "inverse_sqrt"])
def test_a_finished_run_can_be_extended(decay):
    training = Config().replace(training={"steps": 400, "average_every": 1500}).training
    plan = TrainingPlan(100, 20, decay, 1.0, validate_every=10, average_every=2)
    more = extend(plan, training, 100, 60.0, steps=400)
    assert (more.steps, more.budget) == (400, None)
    if decay == "inverse_sqrt":
        assert [more.factor(step) for step in (101, 400)] == [plan.factor(step) for step in (101, 400)]
        return
    rates = [more.factor(step) for step in range(100, 401)]
    assert rates[0] == rates[-1] == 0
    assert max(rates) == pytest.approx(300 / 380)  # as in a run planned for 400 steps
    assert rates.index(max(rates)) == 15
    timed = extend(plan, training, 100, 60.0, minutes=3)
    assert (timed.steps, timed.budget) == (400, 240.0)
    assert plan_again(timed, training, 110, 66.0, 1.2).steps == pytest.approx(255, abs=3)
    assert plan_again(timed, training, 110, 66.0, 1.2).warmup == timed.warmup


def test_explicit_settings_hold_under_a_budget():
    config = Config().replace(training={"minutes": 10, "warmup": 77, "decay": "inverse_sqrt"})
    plan = plan_for_minutes(config, 600, Speed(0.5, 2.0, 10.0), explicit={"training.warmup", "training.decay"})
    assert (plan.warmup, plan.decay) == (77, "inverse_sqrt")


def test_explicit_settings_hold_for_a_number_of_steps():
    """A recipe's warm-up is shortened for a short run with linear decay; the user's is not."""
    config = Config().replace(training={"steps": 20, "warmup": 4000, "decay": "linear", "learning_rate": 0.1})
    assert plan_for_steps(config).warmup == 5
    plan = plan_for_steps(config, explicit={"training.warmup"})
    assert plan.warmup == 4000
    assert plan.learning_rate * plan.factor(20) == pytest.approx(0.1 * 20 / 4000)


def test_a_short_budget_is_not_spent_on_validations():
    """On a busy machine, a validation took 10 of 22.5 seconds, and each second step of ten was validated."""
    training = Config().replace(training={"minutes": 1.5}).training
    plan = TrainingPlan(10, 2, "linear", 1.0, validate_every=2, average_every=1, minutes=1.5, budget=22.5)
    corrected = plan_again(replace(plan, validation_cost=20, final_cost=50), training, 4, 18.7, 0.5, 4)
    assert corrected.steps == 10
    assert [step for step in range(5, 11) if corrected.validates(step)] == [10]
    cheap = plan_again(replace(plan, validation_cost=2, final_cost=5), training, 4, 4.0, 0.5, 4)
    assert cheap.validate_every == 22  # half of the budget


def test_a_tiny_budget_has_a_plan():
    config = Config().replace(training={"minutes": 0.1})
    plan = plan_for_minutes(config, 5, Speed(1.0, 3.0, 9.0))
    assert plan.steps >= 1
    assert plan.warmup >= 1
    assert plan.validate_every >= 1
    assert plan.average_every >= 1
