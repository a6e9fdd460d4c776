"""Rank 0 of 1,024: shapes and bytes of both engines, in a process group whose collectives return at once."""

import math

import pytest
import torch
import torch.distributed
from torch.testing._internal.distributed.fake_pg import FakeStore

from allyouneed.config import load_recipe
from allyouneed.data.batches import Batch
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.parallel import parallelise
from allyouneed.training.distributed.ranks import Ranks, local
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import StepMetrics, TrainingState, update

RANKS = Ranks(0, 1024)
VOCABULARY = 2000
SMALL = {"d_model": 32, "d_ff": 64, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(autouse=True)
def thousand_ranks():
    torch.distributed.init_process_group("fake", rank=0, world_size=RANKS.count, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()


def trained(training, before=lambda engine: None) -> tuple[TrainingState, StepMetrics]:
    config = load_recipe("tiny").replace(model=SMALL, training=training)
    model, plan = Transformer(config.model, VOCABULARY), plan_for_steps(config)
    engine = parallelise(model, RANKS, config.training.sharding)
    before(engine)
    state = TrainingState(model, make_optimizers(model, config.training, plan.learning_rate, RANKS))
    state.engine = engine
    batch = Batch(torch.randint(3, VOCABULARY, (4, 7)), torch.randint(3, VOCABULARY, (4, 8)))
    return state, update(state, [batch], config.training, plan, RANKS)


def shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = Transformer(load_recipe("tiny").replace(model=SMALL).model, VOCABULARY)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_each_rank_keeps_its_rows_of_every_tensor(optimizer):
    state, metrics = trained({"optimizer": optimizer, "sharding": "full"})
    assert (metrics.skipped, metrics.tokens) == (False, 28)
    kept = {name: local(parameter).shape for name, parameter in state.model.named_parameters()}
    assert kept == {name: (math.ceil(shape[0] / RANKS.count), *shape[1:]) for name, shape in shapes().items()}
    named = dict(state.model.named_parameters())
    for each in state.optimizers:
        for parameter, tensors in each.state.items():
            name = next(name for name, candidate in named.items() if candidate is parameter)
            assert {local(tensor).shape for tensor in tensors.values() if tensor.dim()} == {kept[name]}


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_every_gradient_is_sent_once(optimizer):
    sent: list[int] = []

    def record(_, bucket):
        sent.append(bucket.buffer().numel())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    _, metrics = trained({"optimizer": optimizer}, lambda engine: engine.register_comm_hook(None, record))
    assert (metrics.skipped, metrics.tokens) == (False, 28)
    assert sum(sent) == sum(shape.numel() for shape in shapes().values())
