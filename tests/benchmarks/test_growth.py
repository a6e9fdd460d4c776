"""Exponents of known curves, and every sweep with toy sizes."""

import pytest

from allyouneed.model.transformer import Transformer
from allyouneed.paper.cost import flops_per_token
from benchmarks.measure import growth, growth_worker
from benchmarks.measure.growth import (
    GrowthPoint,
    LogitsCheck,
    check_logits,
    draw_growth,
    growth_table,
    measure_growth,
)
from benchmarks.measure.sizes import MEANING, SWEEPS, THEORY, Sizes
from benchmarks.measure.workers import WorkerFailed

TOY = Sizes(tokens=64, length=8, vocab_size=100, d_model=32, d_ff=32, heads=1, layers=1)
TOY_SWEEPS = {"tokens": [64, 128], "length": [8, 16], "vocabulary": [50, 100], "width": [32, 64], "depth": [1, 2]}


def curve(sweep: str, values: list[int], time: float, memory: float) -> list[GrowthPoint]:
    """Make points whose time and memory are powers with these exponents."""
    return [GrowthPoint(sweep, v, 1.0 * v, 1e-6 * v**time, round(100 * v**memory), steps=3) for v in values]


def cells(table: str) -> list[dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if "|" in line]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_exponents_are_fitted_on_the_upper_half():
    slow_start = [GrowthPoint("width", value, value**2, 5.0, 10**9, steps=3) for value in (2, 4)]
    points = [*slow_start, *curve("width", [8, 16, 32], 1.75, 2), *curve("tokens", [8, 1024], 1, 0.5)]
    width, tokens = cells(growth_table(points))
    assert (width["from"], width["to"], width["fitted from"]) == ("2", "32", "8")
    assert (width["exponent of time"], width["exponent of memory"]) == ("1.75", "2.00")
    assert width["theory"] == THEORY["width"]
    assert tokens["to"] == "1,024"
    assert tokens["exponent of time"] == "–"  # the upper half of two points is a single one


def test_failed_points_are_listed_and_excluded_from_fits():
    points = [*curve("depth", [1, 2, 4, 8], 1, 1), GrowthPoint("depth", 16, 1.0, error="killed")]
    table = growth_table(points)
    assert cells(table)[0]["to"] == "8"
    assert "- depth 16: killed" in table


def test_every_sweep_increases_the_operations():
    assert set(SWEEPS) == set(MEANING) == set(THEORY)
    for sweep, values in SWEEPS.items():
        sizes = [Sizes().grown(sweep, value) for value in values]
        assert all(each.config().model.key_size == 32 for each in sizes)
        operations = [each.operations() for each in sizes]
        assert operations == sorted(operations)
        assert len(set(operations)) == len(values)


def test_operations_match_the_model():
    """Attention and Muon are counted as in table 1 and in the optimizer."""
    sizes = Sizes(tokens=100, length=10)
    model = Transformer(sizes.config().model, sizes.vocab_size)
    square, oblong = (4 * (4 * 128 * 128 * columns + 2 * 128**3) for columns in (128, 256))
    attention = 100 * 10 * 128 * (12 + 6 + 12) * 4
    expected = 100 * flops_per_token(model) + attention + square * 48 + oblong * 16
    assert sizes.operations() == pytest.approx(expected)


def test_sweeps_alternate_and_failed_points_are_not_repeated(monkeypatch):
    requested = []

    def run_worker(module, request):
        size = request["vocab_size"]
        requested.append(size)
        if size == 100:
            raise WorkerFailed("vocabulary too large")
        return {"seconds": [size, 9.0, size], "peak": 1}

    monkeypatch.setattr(growth, "run_worker", run_worker)
    points = measure_growth(60, {"tokens": [8, 16], "vocabulary": [70, 100]}, Sizes(vocab_size=60))
    assert requested == [60, 70, 60, 100, 60, 70, 60, 60, 70, 60]  # forwards, backwards, forwards
    assert [(point.seconds, point.steps) for point in points] == [(60, 9), (60, 9), (70, 9), (None, 0)]
    assert points[-1].error == "vocabulary too large"


def test_without_a_budget_each_point_is_visited_once(monkeypatch):
    monkeypatch.setattr(growth, "run_worker", lambda module, request: {"seconds": [1.0], "peak": 1})
    assert [point.steps for point in measure_growth(0, {"depth": [1, 2]}, TOY)] == [1, 1]


@pytest.mark.slow  # 13 measurements in processes of their own
def test_all_sweeps_with_toy_sizes(monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "run_worker", lambda module, request: growth_worker.measure_step(request))
    points = measure_growth(0, TOY_SWEEPS, TOY)
    assert [(point.sweep, point.value) for point in points] == [(s, v) for s in TOY_SWEEPS for v in TOY_SWEEPS[s]]
    assert all(point.seconds > 0 and point.steps >= 3 and not point.error for point in points)
    unmeasured = GrowthPoint("nothing", 1, 1.0, error="killed")
    monkeypatch.setitem(MEANING, "nothing", "not measured")
    draw_growth([*points, *curve("depth", [4, 8], 1, 1), unmeasured], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_only_the_reference_implementation_materialises_all_logits():
    chunked = check_logits(tokens=8192, vocab_size=16_384, d_model=16)
    reference = check_logits(tokens=2048, vocab_size=16_384, d_model=16, plain=True)
    assert chunked.passed
    assert not reference.passed
    assert reference.share > 1
    assert "never materialised" in str(chunked)
    assert "probably materialised" in str(LogitsCheck(10, 10, 400))
