"""Quality benchmark with a simulated training: stored scores and the table."""

import json
from dataclasses import asdict

from benchmarks.measure import quality
from benchmarks.measure.quality import Quality, measure_quality, quality_table


def scored(seed: int) -> Quality:
    return Quality(seed, 60.0 * seed, 1000 * seed, 2_500_000, 30.0 + seed, 40.0 - seed, 60.0, "BLEU|tok:none")


def test_seeds_with_stored_scores_are_not_trained_again(tmp_path, monkeypatch):
    trained, messages = [], []

    def train_and_score(data, recipe, minutes, seed, run, settings):
        trained.append((seed, run.name, list(settings)))
        run.mkdir()
        return asdict(scored(seed))

    monkeypatch.setattr(quality, "_train_and_score", train_and_score)
    arguments = (tmp_path, "table3/base", 0.5)
    results = measure_quality(*arguments, [1, 2], tmp_path, ["model.dropout=0.2"], messages.append)
    assert results == [scored(1), scored(2)]
    assert trained[0] == (1, "table3-base-0.5-minutes-seed-1", ["model.dropout=0.2"])
    assert measure_quality(*arguments, [2, 3], tmp_path, [], messages.append) == [scored(2), scored(3)]
    assert [seed for seed, *_ in trained] == [1, 2, 3]
    assert messages[0] == "seed 1: 39.00 BLEU after 1.0 minutes"
    assert json.loads((tmp_path / trained[0][1] / "quality.json").read_text())["seed"] == 1


def test_the_table_has_one_row_per_seed_and_the_medians():
    table = quality_table("tiny", [scored(1), scored(5), scored(2)])
    assert "Recipe `tiny`, 2.50 million parameters; BLEU|tok:none" in table
    assert "| 5 | 5.0 | 5,000 | 35.00 | 35.00 | 60.00 |" in table
    assert table.splitlines()[-1] == "| median | | | 32.00 | 38.00 | |"
