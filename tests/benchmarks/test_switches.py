"""Rates, start-up and catching up from times that are known, and toy variants in processes of their own."""

import numpy as np
import pytest

from benchmarks.measure.switches import (
    AS_IS,
    SwitchRow,
    Variant,
    Visit,
    all_variants,
    as_visit,
    caught_up,
    made_up_pairs,
    measure_switches,
    switches_table,
)

TOY = ["model.d_model=32", "model.d_ff=32", "model.num_heads=1", "model.encoder_layers=1", "model.decoder_layers=1"]


def test_a_visit_counts_all_steps_that_compiled():
    steps = [(10.0, 100), (1.2, 100), (1.0, 100), (0.5, 50), (31.0, 100), (1.0, 100)]
    visit = as_visit(steps, warm_up=2)
    assert visit.rate == pytest.approx(100)
    assert visit.first == 10
    assert visit.lost == pytest.approx(9 + 30)


def test_who_is_faster_catches_up_when_both_have_seen_as_many_tokens():
    slow, fast = (SwitchRow(name, (Visit(rate, lost, lost),)) for name, rate, lost in (("", 100, 6), ("", 150, 126)))
    minutes = caught_up(fast, slow)
    assert 150 * (60 * minutes - 126) == pytest.approx(100 * (60 * minutes - 6))
    assert caught_up(slow, fast) is None
    assert caught_up(SwitchRow("", (Visit(150, 1, 1),)), slow) == 0


def test_the_table_counts_the_first_visit_as_the_start_and_says_what_failed():
    rows = [
        SwitchRow(AS_IS, (Visit(1000, 4, 4), Visit(1200, 2, 2), Visit(1100, 3, 3))),
        SwitchRow("compiled", (Visit(2200, 184, 184), Visit(2200, 9, 9))),
        SwitchRow("bf16", (Visit(550, 1, 1),)),
        SwitchRow("broken", why="no compiler"),
    ]
    header, _, *lines = switches_table(rows).splitlines()[:6]
    assert header.count("|") == 7
    assert all(line.count("|") == 7 for line in lines)
    assert lines[0] == "| as is | 1,100 (1,000 to 1,200) | ×1.00 | 4.0 | 2.5 | – |"
    assert lines[1] == "| compiled | 2,200 (2,200 to 2,200) | ×2.00 | 184.0 | 9.0 | 6.1 |"
    assert lines[2].endswith("| ×0.50 | 1.0 | – | never |")
    assert "- broken: no compiler" in switches_table(rows)


def test_variants_have_fewer_threads_than_there_are():
    assert [variant.threads for variant in all_variants(6) if variant.threads] == [1, 2, 4]
    assert not any(variant.threads for variant in all_variants(1))
    names = [variant.name for variant in all_variants(2)]
    assert names[0] == AS_IS
    assert len(set(names)) == len(names)


def test_made_up_sentences_are_like_multi30ks():
    source, target = np.array([[len(side) for side in pair] for pair in made_up_pairs(5000, 1000)]).T
    assert source.mean() == pytest.approx(14, abs=0.3)
    assert target.std() == pytest.approx(4.8, abs=0.4)
    assert np.corrcoef(source, target)[0, 1] == pytest.approx(0.86, abs=0.03)


def test_variants_are_trained_in_turn_and_one_that_fails_is_a_row():
    heard = []
    chosen = [Variant(AS_IS, ("training.plain=true",)), Variant("wrong", ("training.batch_token=1",))]
    settings = [*TOY, "data.vocab_size=100", "training.batch_tokens=200"]
    rows = measure_switches(rounds=2, steps=2, warm_up=1, settings=settings, variants=chosen, say=heard.append)
    assert [len(row.visits) for row in rows] == [2, 0]
    assert all(visit.rate > 0 and visit.first > 0 for visit in rows[0].visits)
    assert "did you mean training.batch_tokens?" in rows[1].why
    assert [line.partition(":")[0] for line in heard] == ["round 1, as is", "round 1, wrong", "round 2, as is"]
