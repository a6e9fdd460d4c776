import pytest

from allyouneed.config import Config
from allyouneed.training.schedule import Speed, TrainingPlan, paper_peak, plan_for_minutes, plan_for_steps


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
    plan = TrainingPlan(100, 10, "linear", 1.0, validate_every=10, average_every=2, minutes=1.0, budget=50.0)
    assert plan.in_time(5, 5.0) is plan  # still warming up
    assert plan.in_time(90, 90.0) is plan  # too late to correct
    assert plan.in_time(50, 24.9) is plan  # on schedule
    slower, faster = plan.in_time(40, 25.0), plan.in_time(40, 10.0)
    assert (slower.steps, faster.steps) == (80, 200)
    for turned in (slower, faster):
        assert turned.factor(40) == pytest.approx(plan.factor(40))  # the learning rate is continuous
        assert turned.factor(turned.steps) == 0
        assert turned.factor((40 + turned.steps) // 2) == pytest.approx(plan.factor(40) / 2)
    again = slower.in_time(60, 35.0)
    assert again.factor(60) == pytest.approx(slower.factor(60))
    assert plan.in_time(80, 1000.0).steps == 94  # far too slow: the averaged steps are kept
    assert TrainingPlan(100, 10, "linear", 1.0, 10, 2).in_time(40, 25.0).steps == 100  # no budget


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


def test_a_tiny_budget_has_a_plan():
    config = Config().replace(training={"minutes": 0.1})
    plan = plan_for_minutes(config, 5, Speed(1.0, 3.0, 9.0))
    assert plan.steps >= 1
    assert plan.warmup >= 1
    assert plan.validate_every >= 1
    assert plan.average_every >= 1
