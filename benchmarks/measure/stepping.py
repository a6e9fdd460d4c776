"""Training steps on arbitrary batches, as in training."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from allyouneed.config import Config
from allyouneed.data.batches import Batch
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.model.dropout import Dropout
from allyouneed.model.linear import Linear
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.parallel import parallelise
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import TrainingState, update


class Step(NamedTuple):
    """Wall-clock seconds and target tokens (without padding) of a step."""

    seconds: float
    tokens: int


class Stepper:
    """A newly initialised model and its optimizers; calling it with this rank's share of a batch updates the model."""

    def __init__(
        self,
        config: Config,
        vocab_size: int,
        device: torch.device | None = None,
        compiled: bool = False,
        ranks: Ranks | None = None,
    ):
        torch.manual_seed(config.training.seed)
        self.training, self.plan, self.ranks = config.training, plan_for_steps(config), ranks or Ranks()
        self.model = Transformer(config.model, vocab_size, plain=config.training.plain).to(
            device or torch.device("cpu")
        )
        if compiled:
            compile_with_pytorch(self.model)
        engine = parallelise(self.model, self.ranks, self.training.sharding)
        optimizers = make_optimizers(self.model, self.training, self.plan.learning_rate, self.ranks)
        self.state = TrainingState(self.model, optimizers)
        self.state.engine = engine

    def __call__(self, batch: Batch) -> Step:
        """Run forward, loss, backward and optimizers."""
        start = time.perf_counter()
        metrics = update(self.state, [batch], self.training, self.plan, self.ranks)
        return Step(time.perf_counter() - start, metrics.tokens)


def random_batch(sentences: int, length: int, vocab_size: int) -> Batch:
    """Make pairs of random ids of equal length, without padding."""
    return Batch(*(torch.randint(EOS, vocab_size, (sentences, tokens)) for tokens in (length, length + 1)))


def use_pytorch_kernels(model: Transformer) -> None:
    """Replace Numba kernels, which torch.compile cannot trace, by PyTorch's dropout, linear layers and fused attention.

    The loss is not compiled and keeps its kernel.
    """
    for module in model.modules():
        if isinstance(module, (Dropout, Linear, Transformer)):
            module.plain = True


def compile_with_pytorch(model: Transformer) -> None:
    """Compile the model with torch.compile for batches of any shape."""
    use_pytorch_kernels(model)
    model.hidden = torch.compile(model.hidden, dynamic=True)
