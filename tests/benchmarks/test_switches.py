"""Rates, start-up times and break-even from known times, and toy variants in separate processes."""

import numpy as np
import pytest

from benchmarks.measure.switches import (
    DEFAULT,
    SwitchRow,
    Variant,
    Visit,
    all_variants,
    break_even,
    measure_switches,
    summarise_visit,
    switches_table,
    synthetic_pairs,
)

TOY = {"d_model": 32, "d_ff": 32, "num_heads": 1, "encoder_layers": 1, "decoder_layers": 1}


def test_compilation_time_includes_all_steps_that_compile():
    steps = [(10.0, 100), (1.2, 100), (1.0, 100), (0.5, 50), (31.0, 100), (1.0, 100)]
    visit = summarise_visit(steps, warm_up=2)
    assert visit.rate == pytest.approx(100)
    assert visit.first == 10
    assert visit.compiling == pytest.approx(9 + 30)


def test_break_even_is_reached_at_equal_token_counts():
    slow, fast = (
        SwitchRow(name, (Visit(rate, seconds, seconds),)) for name, rate, seconds in (("", 100, 6), ("", 150, 126))
    )
    minutes = break_even(fast, slow)
    assert 150 * (60 * minutes - 126) == pytest.approx(100 * (60 * minutes - 6))
    assert break_even(slow, fast) is None
    assert break_even(SwitchRow("", (Visit(150, 1, 1),)), slow) == 0


def test_the_table_has_cold_and_warm_starts_and_failures():
    rows = [
        SwitchRow(DEFAULT, (Visit(1000, 4, 4), Visit(1200, 2, 2), Visit(1100, 3, 3))),
        SwitchRow("compiled", (Visit(2200, 184, 184), Visit(2200, 9, 9))),
        SwitchRow("bf16", (Visit(550, 1, 1),)),
        SwitchRow("broken", error="no compiler"),
    ]
    header, _, *lines = switches_table(rows).splitlines()[:6]
    assert header.count("|") == 7
    assert all(line.count("|") == 7 for line in lines)
    assert lines[0] == "| default | 1,100 (1,000 to 1,200) | ×1.00 | 4.0 | 2.5 | – |"
    assert lines[1] == "| compiled | 2,200 (2,200 to 2,200) | ×2.00 | 184.0 | 9.0 | 6.1 |"
    assert lines[2].endswith("| ×0.50 | 1.0 | – | never |")
    assert "- broken: no compiler" in switches_table(rows)


def test_variants_use_fewer_threads_than_available():
    assert [variant.threads for variant in all_variants(6) if variant.threads] == [1, 2, 4]
    assert not any(variant.threads for variant in all_variants(1))
    names = [variant.name for variant in all_variants(2)]
    assert names[0] == DEFAULT
    assert len(set(names)) == len(names)


def test_synthetic_lengths_are_distributed_as_in_multi30k():
    source, target = (side.lengths for side in synthetic_pairs(5000, 1000))
    assert source.mean() == pytest.approx(14, abs=0.3)
    assert target.std() == pytest.approx(4.8, abs=0.4)
    assert np.corrcoef(source, target)[0, 1] == pytest.approx(0.86, abs=0.03)


@pytest.mark.slow  # several processes
def test_variants_alternate_and_a_failure_becomes_a_row():
    messages = []
    chosen = [Variant(DEFAULT, {"training": {"plain": True}}), Variant("wrong", {"training": {"batch_token": 1}})]
    settings = {"model": TOY, "data": {"vocab_size": 100}, "training": {"batch_tokens": 200}}
    rows = measure_switches(rounds=2, steps=2, warm_up=1, settings=settings, variants=chosen, log=messages.append)
    assert [len(row.visits) for row in rows] == [2, 0]
    assert all(visit.rate > 0 and visit.first > 0 for visit in rows[0].visits)
    assert "did you mean training.batch_tokens?" in rows[1].error
    assert [line.partition(":")[0] for line in messages] == ["round 1, default", "round 1, wrong", "round 2, default"]
