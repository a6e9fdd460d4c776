"""Count the work of a training step on the model's own code, on `meta` tensors, which have shapes but no numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from allyouneed.config import load_recipe
from allyouneed.data.batches import share, token_batches
from allyouneed.model.transformer import Transformer
from benchmarks.measure.scaling_model import FP32, Ready, Unit, Workload

_SENTENCES, _LENGTH = 4, 32  # of the counted batch; WMT14 has about 29 tokens per sentence
_LOG_MEAN, _LOG_DEVIATION, _CORRELATION = 3.16, 0.65, 0.9  # of WMT-like lengths: mean 29, half below 24
_LONGEST = 200


class _Operators(TorchDispatchMode):
    """Counts operators that compute, not views."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@cache
def profile(recipe: str) -> Workload:
    """Run forward and backward of a recipe's model without numbers, and note when each gradient is complete.

    The reference implementation is counted, since the fused kernels hide their operations from PyTorch.
    """
    config = load_recipe(recipe)
    counter, operators = FlopCounterMode(display=False), _Operators()
    seen: list[tuple[int, int]] = []
    with torch.device("meta"):
        model = Transformer(config.model, config.data.vocab_size, plain=True).train()
        ids = torch.zeros(_SENTENCES, _LENGTH, dtype=torch.long)
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append((counter.get_total_flops(), p.numel())))
    with counter, operators:
        model(ids, ids).sum().backward()
    total = counter.get_total_flops()
    gradients = tuple(Ready(flops / total, FP32 * size) for flops, size in seen)
    return Workload(recipe, total / ids.numel(), gradients, _units(model), operators.count)


def _units(model: Transformer) -> tuple[Unit, ...]:
    """Return the embedding with the output layer, and each layer; operations are proportional to weights."""
    layers = [sum(p.numel() for p in layer.parameters()) for layer in (*model.encoder.layers, *model.decoder.layers)]
    rest = model.num_parameters() - sum(layers)
    return tuple(Unit(size / (3 * model.num_parameters()), FP32 * size) for size in (rest, *layers))


@cache
def _wmt_like_lengths(count: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw tokens of source and target, with the end token, as in newspapers and parliament."""
    random = np.random.default_rng(1)
    both = random.multivariate_normal([0, 0], [[1, _CORRELATION], [_CORRELATION, 1]], size=count)
    source, target = np.clip(np.rint(np.exp(_LOG_MEAN + _LOG_DEVIATION * both)), 2, _LONGEST).astype(np.int64).T + 1
    return source, target


@cache
def _batch_sizes(batch_tokens: int, batches: int) -> list[np.ndarray]:
    """Return the tokens of each pair in batches of training that are evenly spaced by length."""
    source, target = _wmt_like_lengths()
    *made, _ = token_batches(source, target, batch_tokens)  # the last batch of an epoch is smaller
    chosen = np.linspace(0, len(made) - 1, min(batches, len(made))).round().astype(int)
    return [(source + target)[made[index]] for index in chosen]


@cache
def imbalance(batch_tokens: int, ranks: int, batches: int = 20) -> float:
    """Return the tokens of the largest share of a batch divided by the mean, averaged over batches.

    Batches and shares are those of training, for sentences of WMT-like lengths.

    Args:
        batch_tokens: Tokens of the global batch and side.
        ranks: Number of shares.
        batches: Number of batches.
    """
    ratios = []
    for sizes in _batch_sizes(batch_tokens, batches):
        shares = [int(share(sizes, rank, ranks).sum()) for rank in range(ranks)]
        ratios.append(max(shares) * ranks / sum(shares))
    return float(np.mean(ratios))
