"""Exponents from curves that are known, and a toy run of every sweep."""

import pytest

from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import flops_per_token
from benchmarks.measure import growth, growth_worker
from benchmarks.measure.growth import (
    GrowthPoint,
    LogitsCheck,
    draw_growth,
    growth_table,
    logits_never_whole,
    measure_growth,
)
from benchmarks.measure.sizes import MEANING, SWEEPS, THEORY, Sizes
from benchmarks.measure.workers import WorkerFailed

TOY = Sizes(tokens=64, length=8, words=100, d_model=32, d_ff=32, heads=1, layers=1)
TOY_SWEEPS = {"tokens": [64, 128], "length": [8, 16], "vocabulary": [50, 100], "width": [32, 64], "depth": [1, 2]}


def curve(sweep: str, values: list[int], time: float, memory: float) -> list[GrowthPoint]:
    """As if time and memory were powers of these exponents."""
    return [GrowthPoint(sweep, v, 1.0 * v, 1e-6 * v**time, round(100 * v**memory), steps=3) for v in values]


def cells(table: str) -> list[dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if "|" in line]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_the_table_has_the_exponents_of_the_upper_half():
    slow_start = [GrowthPoint("width", value, value**2, 5.0, 10**9, steps=3) for value in (2, 4)]
    points = [*slow_start, *curve("width", [8, 16, 32], 1.75, 2), *curve("tokens", [8, 1024], 1, 0.5)]
    width, tokens = cells(growth_table(points))
    assert (width["from"], width["to"], width["fitted from"]) == ("2", "32", "8")
    assert (width["exponent of time"], width["exponent of memory"]) == ("1.75", "2.00")
    assert width["theory"] == THEORY["width"]
    assert tokens["to"] == "1,024"
    assert tokens["exponent of time"] == "–"  # the upper half of two points is one


def test_what_failed_is_said_and_fitted_around():
    points = [*curve("depth", [1, 2, 4, 8], 1, 1), GrowthPoint("depth", 16, 1.0, why="killed")]
    table = growth_table(points)
    assert cells(table)[0]["to"] == "8"
    assert "- depth 16: killed" in table


def test_every_sweep_grows_its_own_size():
    assert set(SWEEPS) == set(MEANING) == set(THEORY)
    for sweep, values in SWEEPS.items():
        sizes = [Sizes().grown(sweep, value) for value in values]
        assert all(each.config().model.key_size == 32 for each in sizes)
        operations = [each.operations() for each in sizes]
        assert operations == sorted(operations)
        assert len(set(operations)) == len(values)


def test_operations_of_weights_are_those_of_the_model():
    """Those of attention and Muon are counted as table 1 and the optimizer have them."""
    sizes = Sizes(tokens=100, length=10)
    model = Transformer(sizes.config().model, sizes.words)
    square, oblong = (4 * (4 * 128 * 128 * long + 2 * 128**3) for long in (128, 256))
    attention = 100 * 10 * 128 * (12 + 6 + 12) * 4
    expected = 100 * flops_per_token(model) + attention + square * 48 + oblong * 16
    assert sizes.operations() == pytest.approx(expected)


def test_sweeps_take_turns_and_one_that_fails_is_not_tried_again(monkeypatch):
    asked = []

    def ask(module, request):
        asked.append(request["words"])
        if request["words"] == 100:
            raise WorkerFailed("too many words")
        return {"seconds": [request["words"], 9.0, request["words"]], "peak": 1}

    monkeypatch.setattr(growth, "ask", ask)
    points = measure_growth(60, {"tokens": [8, 16], "vocabulary": [70, 100]}, Sizes(words=60))
    assert asked == [60, 70, 60, 100, 60, 70, 60, 60, 70, 60]  # there, back, and there again
    assert [(point.seconds, point.steps) for point in points] == [(60, 9), (60, 9), (70, 9), (None, 0)]
    assert points[-1].why == "too many words"


def test_without_a_budget_each_point_is_visited_once(monkeypatch):
    monkeypatch.setattr(growth, "ask", lambda module, request: {"seconds": [1.0], "peak": 1})
    assert [point.steps for point in measure_growth(0, {"depth": [1, 2]}, TOY)] == [1, 1]


def test_a_toy_run_has_points_of_all_sweeps_and_a_plot(monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "ask", lambda module, request: growth_worker.measure_step(request))
    points = measure_growth(0, TOY_SWEEPS, TOY)
    assert [(point.sweep, point.value) for point in points] == [(s, v) for s in TOY_SWEEPS for v in TOY_SWEEPS[s]]
    assert all(point.seconds > 0 and point.steps >= 3 and not point.why for point in points)
    nothing = GrowthPoint("nothing", 1, 1.0, why="killed")
    monkeypatch.setitem(MEANING, "nothing", "that could be measured")
    draw_growth([*points, *curve("depth", [4, 8], 1, 1), nothing], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_loss_never_holds_all_logits_and_its_twin_does():
    chunked = logits_never_whole(tokens=8192, words=16_384, d_model=16)
    whole = logits_never_whole(tokens=2048, words=16_384, d_model=16, plain=True)
    assert chunked.holds
    assert not whole.holds
    assert whole.share > 1
    assert "never held whole" in str(chunked)
    assert "it seems they were held whole" in str(LogitsCheck(10, 10, 400))
