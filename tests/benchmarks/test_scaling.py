"""Scaling model: collectives, overlap, sharding, the counted work, and its agreement with PyTorch and with figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from allyouneed.config import load_recipe
from allyouneed.model.transformer import Transformer
from allyouneed.training.resolution.size import training_flops
from benchmarks.measure import scaling_gpus
from benchmarks.measure.gradient_noise import _Sums
from benchmarks.measure.scaling_local import (
    Layout,
    LinkRow,
    Measured,
    layouts_table,
    link_cost,
    links_table,
    predicted_step,
)
from benchmarks.measure.scaling_model import (
    Accelerator,
    Link,
    Network,
    Ready,
    Unit,
    Workload,
    buckets,
    fully_sharded,
    overlapped,
    predict,
    ring_bytes,
    steps_to_loss,
)
from benchmarks.measure.scaling_profile import imbalance, profile
from benchmarks.measure.scaling_published import INFINIBAND, compare_with_nvidia, expected_maximum

MIB = 2**20
SLOW = Network("test", Link(100.0, 0.5, 0.25), Link(10.0, 2.0, 1.0), per_node=4)


@pytest.fixture
def thousand_ranks():
    """A process group of 1,024 ranks, of which only rank 0 exists, and whose collectives return at once."""
    torch.distributed.init_process_group("fake", rank=0, world_size=1024, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()


def test_collectives_of_one_node_and_of_several():
    assert SLOW.all_reduce(400, 1) == SLOW.scatter(400, 1) == 0
    assert SLOW.all_reduce(40, 4) == 2 * 3 * 0.25 + 2 * 40 / 92  # the tree, whose latency is shorter
    assert SLOW.scatter(400, 4) == 3 * 0.5 + 3 / 4 * 400 / 100
    assert SLOW.scatter(400, 8) == 6 * 0.5 + 1 * 2.0 + 7 / 8 * 400 / 10  # 8 ranks on 2 nodes: one step between them
    assert SLOW.all_reduce(1e6, 8) == 2 * (6 * 0.5 + 2.0) + 2 * 7 / 8 * 1e5  # the ring, which sends less


def test_each_rank_sends_almost_twice_the_gradient():
    assert ring_bytes(100, 1) == 0
    assert ring_bytes(100, 2) == 100
    assert ring_bytes(100, 1024) == pytest.approx(199.8, abs=0.01)


@pytest.mark.parametrize("width", [16, 1024])
def test_buckets_are_those_of_pytorch(thousand_ranks, width):
    layers = [torch.nn.Linear(width, width) for _ in range(9)]
    model = DistributedDataParallel(torch.nn.Sequential(*layers))
    sent: list[int] = []

    def record(_, bucket):
        sent.append(4 * bucket.buffer().numel())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    model.register_comm_hook(None, record)
    for _ in range(2):  # after the first backward pass, buckets follow the order of the gradients
        sent.clear()
        model(torch.ones(1, width)).sum().backward()
    order = [4 * p.numel() for layer in reversed(layers) for p in (layer.bias, layer.weight)]
    assert [part.size for part in buckets([Ready(0.0, size) for size in order])] == sent
    assert len(sent) == (1 if width == 16 else 3)


def test_communication_hides_behind_backward():
    cost = lambda size: 1 + size / 100  # noqa: E731
    early, late = Ready(2.0, 300), Ready(8.0, 100)
    assert overlapped([early, late], 10.0, cost) == 10.0  # done at 6 and 10
    assert overlapped([early, late], 8.0, cost) == 10.0
    assert overlapped([Ready(2.0, 900), late], 8.0, cost) == 14.0  # the second waits for the first, done at 12


def test_sharded_units_wait_for_their_weights():
    units = [Unit(1.0, 10), Unit(1.0, 20), Unit(1.0, 20)]
    assert fully_sharded(units, lambda size: 0.0) == 9.0  # computation alone
    slow = fully_sharded(units, lambda size: size)
    forward, backward = 10 + 20 + 20, 20 + 20 + 20 + 20 + 10  # backward gathers two units again, and reduces all
    assert slow == forward + 1 + backward  # computation hides, except the last of the forward pass


def test_a_step_is_bound_by_launches_then_by_arithmetic():
    work = Workload("toy", 100.0, (Ready(0.5, 8.0), Ready(1.0, 8.0)), (Unit(1 / 3, 16.0),), operators=10)
    gpu = Accelerator("toy", 1000.0, {"toy": 0.5}, memory=56.0, launch=0.1)
    one = predict(work, gpu, SLOW, 1, 1)
    assert (one.compute, one.communication, one.total) == (1.0 + 2.0, 0.0, 3.0)
    assert predict(work, gpu, SLOW, 1, 10).total == 2.0 + 2.0
    two = predict(work, gpu, SLOW, 2, 20, "whole", imbalance=1.5)
    assert two.compute == 3.0 + 2.0
    assert two.communication == SLOW.all_reduce(16, 2)
    assert two.exposed == pytest.approx(two.communication)
    assert predict(work, gpu, SLOW, 2, 20, "sharded").compute == 2.0 + 1.0  # each rank updates half of the weights


def test_work_is_counted_on_the_model():
    work, config = profile("tiny"), load_recipe("tiny")
    with torch.device("meta"):
        model = Transformer(config.model, config.data.vocab_size)
    assert work.bytes == 4 * model.num_parameters() == sum(unit.size for unit in work.units)
    assert work.flops / training_flops(config.model, config.data.vocab_size) == pytest.approx(1.0, abs=0.1)
    assert work.gradients[-1].size == 4 * config.data.vocab_size * config.model.d_model  # the shared embedding is last
    assert work.gradients[-1].time == 1.0
    times = [gradient.time for gradient in work.gradients]
    assert times == sorted(times)
    assert times[0] > 1 / 3  # the forward pass


def test_shares_are_equal_until_there_are_more_ranks_than_sentences():
    assert imbalance(25_000, 1) == 1.0
    assert 1.0 < imbalance(25_000, 8) < 1.02
    assert imbalance(25_000, 1024) > 2.0


def test_published_measurements_are_explained():
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-3)
    assert expected_maximum(2) == pytest.approx(0.5642, abs=1e-3)  # 1 / √π
    assert expected_maximum(8) == pytest.approx(1.4236, abs=1e-3)
    deviation, found = compare_with_nvidia()
    assert 0.1 < deviation < 0.2
    assert sum(row.is_fitted for row in found) == 1
    assert all(abs(row.predicted - row.efficiency) < 0.04 for row in found)


def test_a_larger_batch_saves_steps_up_to_the_critical_one():
    assert steps_to_loss(25_000, 50_000, 1000, 25_000) == 1000
    assert steps_to_loss(50_000, 1e9, 1000, 25_000) == pytest.approx(500, abs=1)
    assert steps_to_loss(50_000, 1, 1000, 25_000) == pytest.approx(1000, abs=1)


def test_a_link_is_predicted_from_processors_and_its_rate():
    cost = link_cost({"1000": 0.1, "101000": 0.3}, 8_000_000)
    assert cost(0) == pytest.approx(0.1)
    assert cost(1000) == pytest.approx(0.1 + 0.002 + 0.001 * 1514 / 1448)
    completed, slow = [(0.2, 2 * MIB), (0.5, MIB)], lambda size: size / MIB
    assert predicted_step(completed, 0.6, "whole", slow) == pytest.approx(0.5 + 3 + 0.1)
    assert predicted_step(completed, 0.7, "buckets", slow) == pytest.approx(0.2 + 2 + 1 + 0.2)
    units = [Unit(0.1, MIB), Unit(0.2, 2 * MIB)]
    in_turn = (1 + 2) / 2 + (2 + 1 + 2) / 2  # gathers of forward and backward, sums of gradients
    assert predicted_step(completed, 0.7, "sharded", slow, units) == pytest.approx(0.7 + in_turn)


def test_tables_of_measurements():
    one = Measured(Layout(1, 1), "whole", 1000, 2.0, 2.0, 0.0, 0.0)
    two = Measured(Layout(2, 1), "buckets", 1000, 1.25, 1.0, 0.5, 4e6)
    assert two.hidden == 0.5
    assert "| 2 × 1 | buckets (DDP) | 800 | 1.60 × | 1,250 ms | 1,000 ms | 500 ms | 50% | 4.0 MB |" in layouts_table(
        [one, two]
    )
    assert "| 100 Mbit/s | buckets (DDP) | 1,000 ms | 1,250 ms | -20% | 500 ms | 50% | 4.0 MB |" in links_table(
        [LinkRow(100_000_000, 1.0, two)]
    )


def test_noise_scale_of_gradients_with_known_noise():
    generator = torch.Generator().manual_seed(1)
    direction = torch.full((1000,), 0.1)  # |G|² = 10
    sums = _Sums()
    for _ in range(200):  # of 50 tokens, each with noise of variance 4 per weight: tr(Σ) = 4,000
        sums.add(direction + 2 / 50**0.5 * torch.randn(1000, generator=generator), 50)
    assert sums.noise_scale() == pytest.approx(400, rel=0.05)


@pytest.fixture
def counted_once(monkeypatch):
    """Use the work of `tiny` for both models, since counting that of large ones takes seconds."""
    small = {name: replace(profile("tiny"), name=name) for name in ("base", "big")}
    monkeypatch.setattr(scaling_gpus, "profile", small.__getitem__)
    scaling_gpus.gpus.cache_clear()
    yield small
    scaling_gpus.gpus.cache_clear()


def test_tables_and_plots_of_gpus(counted_once, tmp_path: Path):
    tables = scaling_gpus.gpu_tables()
    assert tables.count("###") == 7
    assert "| 400,000 tokens | 1,024 | +27.5% |" in tables
    assert "nan" not in tables
    work = counted_once["base"]
    assert scaling_gpus.efficiency(work, INFINIBAND, 1, 25_000) == pytest.approx(1.0)
    assert scaling_gpus.efficiency(work, INFINIBAND, 1024, 25_000) < 0.05
    choices = [scaling_gpus.best_batch(work, INFINIBAND, ranks, 200_000) for ranks in (1, 64, 1024)]
    assert [choice.batch for choice in choices] == sorted(choice.batch for choice in choices)
    assert choices[0].hours > choices[1].hours
    scaling_gpus.draw_gpus(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"scaling-efficiency.svg", "scaling-minutes.svg"}
    assert all(path.stat().st_size < 200_000 for path in tmp_path.iterdir())


@pytest.mark.slow  # counts the large models
def test_the_page_has_the_predicted_numbers():
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8").replace(" %", "%")
    shown = {line for line in page.splitlines() if line.startswith("| ba") or line.startswith("| bi")}
    predicted = scaling_gpus.efficiency_table().splitlines()
    for row in predicted[2:]:
        model, batch, network, *cells = row.strip("| ").split(" | ")
        if "10 Gbit/s" not in network:
            assert f"| {model} | {batch} | {network.removesuffix(' per node')} | {' | '.join(cells)} |" in shown
