"""Parts of a small training step: their arithmetic, and a table that adds up."""

import pytest

from allyouneed.kernels import installed
from benchmarks.measure.parts import Part
from benchmarks.measure.throughput import size_config
from benchmarks.roofline import OVERHEAD, Peak, Roofline, measure, table

VOCABULARY, D_MODEL, D_FF, BATCH_TOKENS = 96, 32, 48, 100


@pytest.fixture(scope="module")
def roofline() -> Roofline:
    sizes = {"d_model": D_MODEL, "d_ff": D_FF, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    return measure(size_config("tiny").replace(model=sizes), VOCABULARY, steps=1, batch_tokens=BATCH_TOKENS)


def test_products_are_counted_completely(roofline: Roofline):
    """Six operations per weight and token, of the layers and the output layer (`training_flops`)."""
    products = {name: part for name, part in roofline.parts.items() if name.startswith(("product", "loss:"))}
    [tokens] = {
        part.operations / (2 * D_MODEL * D_FF * part.calls)
        for name, part in products.items()
        if name == f"product n x {D_MODEL} x {D_FF}"
    }
    layers = (3 + 1) * D_MODEL**2 + 2 * D_MODEL * D_FF, (4 + 4) * D_MODEL**2 + 2 * D_MODEL * D_FF
    assert sum(part.operations for part in products.values()) == pytest.approx(
        6 * tokens * (sum(layers) + VOCABULARY * D_MODEL), rel=0.1
    )


def test_kernels_are_observed_only_as_a_whole(roofline: Roofline):
    if not installed():
        pytest.skip("needs Numba")
    calls = {name: part.calls for name, part in roofline.parts.items()}
    assert calls["attention"] == calls["attention, backward"] == 3
    assert calls["dropout and residual"] == 5
    assert calls["update by Adam"] == 1
    assert not {"PyTorch's lerp", "PyTorch's exp"} & calls.keys()


def test_the_table_is_sorted_by_lost_time_and_adds_up():
    parts = {"fast": Part(1, 1.0, 8e9, 1e9), "slow": Part(2, 3.0, 1e9, 2e9), "minute": Part(1, 0.001, 0, 0)}
    lines = table(Roofline(Peak(10e9, 2e9), parts, seconds=5.0, tokens=100)).splitlines()
    names = [line.split(" | ")[0].strip("| ") for line in lines[2:]]
    assert names == ["slow", OVERHEAD, "fast", "1 other operations", "the step"]
    assert lines[2] == "| slow | 2 | 1,000 | 2,000 | 1,000.0 | 3,000.0 | 2,000.0 | 60.0% |"
    assert lines[-1] == "| the step | 4 | 9,000 | 3,000 | 1,800.0 | 5,000.0 | 3,200.0 | 100.0% |"
