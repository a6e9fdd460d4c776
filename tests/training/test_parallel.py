"""DistributedDataParallel, FSDP2 and distributed Muon: several ranks compute what one process computes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.config import Config, load_recipe
from allyouneed.data.batches import Batch, share
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.model.transformer import Transformer
from allyouneed.training.checkpoint import load_checkpoint, save_checkpoint
from allyouneed.training.distributed.parallel import gather_weights, parallelise
from allyouneed.training.distributed.ranks import Ranks, is_sharded, local, whole
from allyouneed.training.freeze import freeze
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import StepMetrics, TrainingState, update
from tests.training.ranks import in_ranks

VOCABULARY = 48
STEPS = 3
SMALL = [
    *("model.d_model=16", "model.d_ff=32", "model.num_heads=1", "model.encoder_layers=2", "model.decoder_layers=1"),
    *("model.dropout=0", "training.warmup=2", "training.log_every=1", "training.clip_norm=1"),
]


class Case(NamedTuple):
    """A training of a few steps, in several ranks and in one process."""

    settings: str = ""
    parts: int = 1
    pairs: int = 9
    has_teacher: bool = False
    own_products: bool = False


class Trained(NamedTuple):
    metrics: list[StepMetrics]
    weights: dict[str, Tensor]


class WithUnusedWeights(Transformer):
    """A user's own model, with parameters that have no influence on the loss."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.unused = nn.Linear(3, 3)


def global_batch(pairs: int, seed: int) -> Batch:
    """Return a batch of pairs of different lengths, so that ranks have different numbers of tokens."""
    numbers = np.random.default_rng(seed)

    def column(first: list[int]) -> Tensor:
        lines = [[*first, *numbers.integers(4, VOCABULARY, numbers.integers(1, 9)), EOS] for _ in range(pairs)]
        width = max(map(len, lines))
        return torch.tensor([[*map(int, line), *[PAD] * (width - len(line))] for line in lines])

    return Batch(column([]), column([BOS]))


def part_of(batch: Batch, part: int, parts: int) -> Batch:
    pairs = torch.from_numpy(share(np.arange(len(batch.source)), part, parts))
    return Batch(batch.source[pairs], batch.target[pairs])


def make_state(config: Config, ranks: Ranks, has_teacher: bool = False, build=Transformer) -> TrainingState:
    torch.manual_seed(0)
    model, teacher = (build(config.model, VOCABULARY, plain=config.training.plain) for _ in range(2))
    freeze(model, config.training.freeze)
    engine = parallelise(model, ranks, config.training.sharding)
    optimizers = make_optimizers(model, config.training, plan_for_steps(config).learning_rate, ranks)
    state = TrainingState(model, optimizers, teachers=[teacher.eval()] if has_teacher else [])
    state.engine = engine
    return state


def take_steps(ranks: Ranks, case: Case, build=Transformer) -> Trained:
    if case.own_products:
        kernels.choice.is_faster = lambda width: True
        kernels._MIN_ROWS = 1
    config = load_recipe("tiny").override([*SMALL, *case.settings.split()])
    state = make_state(config, ranks, case.has_teacher, build)
    metrics = []
    for seed in range(STEPS):
        batch, parts = global_batch(case.pairs, seed), ranks.count * case.parts
        shares = [part_of(batch, ranks.rank * case.parts + part, parts) for part in range(case.parts)]
        metrics.append(update(state, shares, config.training, plan_for_steps(config), ranks))
    weights = {name: whole(weight.detach()).clone() for name, weight in state.model.named_parameters()}
    return Trained(metrics, weights)


def assert_equal(found: Trained, expected: Trained, error: float = 1e-5) -> None:
    for metrics, others in zip(found.metrics, expected.metrics, strict=True):
        assert metrics.tokens == others.tokens
        assert metrics[:2] == pytest.approx(others[:2], rel=error)
        assert metrics.gradient_norm == pytest.approx(others.gradient_norm, rel=error)
    for name, weight in found.weights.items():
        assert (weight - expected.weights[name]).norm() <= error * expected.weights[name].norm(), name


def take_all_steps(ranks: Ranks, cases: list[Case]) -> list[Trained]:
    return [take_steps(ranks, case) for case in cases]


FULL, MUON, PLAIN = "training.sharding=full", "training.optimizer=muon", "training.plain=true"
IN_TWO = [
    Case(own_products=True),
    Case(MUON, parts=3),
    Case(f"{FULL} {PLAIN}", parts=3),
    Case(f"{FULL} {MUON}", own_products=True),
    Case("training.consistency_share=0.3", pairs=1),
]
IN_THREE = [
    Case(f"{MUON} {PLAIN}", pairs=2),
    Case(f"{MUON} {FULL} {PLAIN} training.weight_decay=0.1", parts=3, pairs=4),
    Case(f"{PLAIN} training.freeze=embeddings,encoder", pairs=4),
    Case(f"{PLAIN} {FULL} training.freeze=encoder,decoder.feed_forward training.teacher_share=0.5", has_teacher=True),
]


def assert_equal_one_process(cases: list[Case], *found: list[Trained]) -> None:
    for case, *by_rank in zip(cases, *found, strict=True):
        expected = take_steps(Ranks(), case._replace(parts=1))
        for each in by_rank:
            assert_equal(each, expected)


@pytest.mark.slow
def test_three_ranks_equal_one_process(tmp_path):
    """Ranks have different numbers of tokens, or none at all; some tensors have fewer rows than there are ranks."""
    assert_equal_one_process(IN_THREE, *in_ranks(3, tmp_path, take_all_steps, IN_THREE))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_all_combinations_equal_one_process(count, tmp_path):
    settings = itertools.product(("", MUON), ("", FULL), ("", PLAIN))
    cases = [Case(" ".join(each), parts) for each in settings for parts in (1, 3)]
    assert_equal_one_process(cases, *in_ranks(count, tmp_path, take_all_steps, cases))


def train_in_bf16(ranks: Ranks) -> list[Trained]:
    return [take_steps(ranks, Case(f"training.precision=bf16 {more}")) for more in (PLAIN, f"{FULL} {PLAIN}")]


def record_and_reduce(reduced, bucket):  # DDP refuses annotations that are strings
    """Do what DDP does, and append the index of the bucket."""
    reduced.append(bucket.index())
    work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def count_reductions(ranks: Ranks) -> tuple[int, int]:
    """Return how often DDP reduces a bucket in an update with one and with three micro-batches."""
    config, counts = load_recipe("tiny").override(SMALL), []
    for parts in (1, 3):
        state, reduced = make_state(config, ranks), []
        state.engine.register_comm_hook(reduced, record_and_reduce)
        shares = [part_of(global_batch(9, 0), parts * ranks.rank + part, 2 * parts) for part in range(parts)]
        update(state, shares, config.training, plan_for_steps(config), ranks)
        counts.append(len(reduced))
    return tuple(counts)


def shard(ranks: Ranks) -> tuple[int, int, bool]:
    """Return the numbers of weights and moments on this rank, and whether gathering updated rank 0's copy."""
    config = load_recipe("tiny").override([*SMALL, MUON, FULL])
    copy, state = make_state(config, Ranks()).model, make_state(config, ranks)
    share_of_rank = part_of(global_batch(9, 0), ranks.rank, ranks.count)
    update(state, [share_of_rank], config.training, plan_for_steps(config), ranks)
    gather_weights(state.model, copy, ranks)
    weights = list(state.model.parameters())
    moments = [
        each for optimizer in state.optimizers for values in optimizer.state.values() for each in values.values()
    ]
    assert all(is_sharded(tensor) for tensor in [*weights, *moments] if tensor.dim())
    updated = [
        torch.equal(whole(weight.detach()), other) for weight, other in zip(weights, copy.parameters(), strict=True)
    ]
    return *(sum(local(tensor).numel() for tensor in tensors) for tensors in (weights, moments)), all(updated)


def take_steps_of_an_own_model(ranks: Ranks) -> list[Trained]:
    return [take_steps(ranks, Case(settings), WithUnusedWeights) for settings in ("", FULL)]


def skip_an_update(ranks: Ranks) -> tuple[StepMetrics, bool]:
    """Take a step in which the gradient of one rank is not finite."""
    config = load_recipe("tiny").override([*SMALL, FULL])
    state = make_state(config, ranks)
    before = [local(weight.detach()).clone() for weight in state.model.parameters()]
    if ranks.rank == 1:
        handle = state.model.encoder.layers[0].feed_forward.outer.register_full_backward_hook(
            lambda module, inner, outer: (inner[0] * torch.inf,)
        )
    share_of_rank = part_of(global_batch(9, 0), ranks.rank, ranks.count)
    metrics = update(state, [share_of_rank], config.training, plan_for_steps(config), ranks)
    same = [torch.equal(local(weight), old) for weight, old in zip(state.model.parameters(), before, strict=True)]
    if ranks.rank == 1:
        handle.remove()
    return metrics, all(same)


def resume_sharded(ranks: Ranks, folder: Path) -> tuple[bool, dict[str, Tensor]]:
    """Save a sharded state after a step, and take another step in it and in the restored state."""
    config = load_recipe("tiny").override([*SMALL, MUON, FULL])
    state, restored = make_state(config, ranks), make_state(config, ranks)
    batches = [part_of(global_batch(9, seed), ranks.rank, ranks.count) for seed in range(2)]
    update(state, batches[:1], config.training, plan_for_steps(config), ranks)
    save_checkpoint(folder, state, b"", ranks)
    ranks.wait()
    load_checkpoint(folder, restored)
    for each in (state, restored):
        update(each, batches[1:], config.training, plan_for_steps(config), ranks)
    weights, others = (each.model.named_parameters() for each in (state, restored))
    same = all(
        torch.equal(local(weight), local(other)) for (_, weight), (_, other) in zip(weights, others, strict=True)
    )
    return same, {name: whole(weight.detach()).clone() for name, weight in state.model.named_parameters()}


def gather_ranks(ranks: Ranks) -> list[int]:
    return ranks.gather(ranks.rank)


def several(ranks: Ranks, folder: Path) -> dict[str, object]:
    """Run functions in the same processes."""
    functions = (count_reductions, shard, take_steps_of_an_own_model, skip_an_update, train_in_bf16, gather_ranks)
    return {
        "take_all_steps": take_all_steps(ranks, IN_TWO),
        **{function.__name__: function(ranks) for function in functions},
        "resume_sharded": resume_sharded(ranks, folder),
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Folder for a checkpoint of two ranks."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def results(tmp_path_factory, checkpoints) -> list[dict[str, object]]:
    """Results of two ranks."""
    return in_ranks(2, tmp_path_factory.mktemp("ranks"), several, checkpoints)


def test_two_ranks_equal_one_process(results, own_products):
    assert_equal_one_process(IN_TWO, *(each["take_all_steps"] for each in results))


def test_values_of_all_ranks_are_gathered(results):
    assert [each["gather_ranks"] for each in results] == [[0, 1], [0, 1]]


def test_autocast_to_bf16(results):
    exact, expected = (take_steps(Ranks(), Case(f"{PLAIN} {more}")) for more in ("", "training.precision=bf16"))
    assert expected.metrics[0].loss != exact.metrics[0].loss
    for found in results[0]["train_in_bf16"]:
        assert found.metrics[0].loss == pytest.approx(expected.metrics[0].loss, rel=1e-6)
        for metrics, others in zip(found.metrics, expected.metrics, strict=True):  # sums are rounded to 8 bits
            assert metrics[:2] == pytest.approx(others[:2], rel=1e-2)
            assert metrics.gradient_norm == pytest.approx(others.gradient_norm, rel=1e-2)


def test_micro_batches_need_no_more_messages(results):
    once, three_parts = results[0]["count_reductions"]
    assert once == three_parts > 0


def test_sharding_divides_weights_and_moments(results):
    whole_model = make_state(load_recipe("tiny").override(SMALL), Ranks()).model.num_parameters()
    for weights, moments, _ in (each["shard"] for each in results):
        assert weights == pytest.approx(whole_model / 2, rel=0.02)
        assert moments < 0.8 * whole_model  # Muon has one moment for each weight of a matrix, Adam two
    assert results[0]["shard"][2]
    assert not results[1]["shard"][2]


def test_parameters_without_influence_are_allowed(results):
    expected = take_steps(Ranks(), Case(), WithUnusedWeights)
    for found in results[0]["take_steps_of_an_own_model"]:
        assert_equal(found, expected)


def test_all_ranks_skip_an_update(results):
    for metrics, is_unchanged in (each["skip_an_update"] for each in results):
        assert metrics.skipped
        assert is_unchanged
        assert "source_embedding.tokens.weight" in metrics.broken
        assert metrics.broken == results[0]["skip_an_update"][0].broken


def test_a_sharded_run_resumes_exactly_and_in_one_process(results, checkpoints):
    assert all(is_exact for is_exact, _ in (each["resume_sharded"] for each in results))
    config = load_recipe("tiny").override([*SMALL, MUON])
    state = make_state(config, Ranks())
    load_checkpoint(checkpoints, state)
    assert state.step == 1
    update(state, [global_batch(9, 1)], config.training, plan_for_steps(config), Ranks())
    assert_equal(Trained([], dict(state.model.named_parameters())), Trained([], results[0]["resume_sharded"][1]))
