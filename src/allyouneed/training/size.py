"""Which recipe fits a corpus, a machine and the time there is, when none is named."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from allyouneed.config import Config, ModelConfig, load_recipe

DEFAULT_MINUTES = 30.0
_SIZES = ("tiny", "small", "base", "big")
_PAIRS_NEEDED = {"tiny": 0, "small": 100_000, "base": 1_000_000, "big": 4_000_000}  # smaller corpora overfit
_EPOCHS_NEEDED = 5  # a larger model that cannot see the corpus so often in the time loses to a smaller one
_TOKENS_PER_PAIR = 25
_UTILISATION = 0.4  # of the peak of matrix products, reached by training
_PAIRS_PER_SUBWORD = 3


class RecipeChoice(NamedTuple):
    """A recipe's name, its settings with a vocabulary that fits the corpus, and the reason, for people."""

    recipe: str
    config: Config
    reason: str


def choose_size(pairs: int, minutes: float, device: torch.device) -> RecipeChoice:
    """The largest recipe that the corpus can feed and that the minutes suffice for."""
    rate = matrix_flops(device)
    chosen, limit = _SIZES[0], ""
    for name in _SIZES[1:]:
        if pairs < _PAIRS_NEEDED[name]:
            limit = f"{name} wants {_PAIRS_NEEDED[name]:,} pairs"
            break
        config = load_recipe(name)
        work = _EPOCHS_NEEDED * pairs * _TOKENS_PER_PAIR * training_flops(config.model, config.data.vocab_size)
        needed = work / (rate * _UTILISATION) / 60
        if minutes < needed:
            limit = f"{name} wants about {needed:,.0f} minutes here"
            break
        chosen = name
    config = load_recipe(chosen)
    vocab_size = min(config.data.vocab_size, max(1000, round(pairs / _PAIRS_PER_SUBWORD, -3)))
    config = config.replace(data={"vocab_size": vocab_size}, training={"minutes": minutes})
    reason = f"{pairs:,} pairs, {minutes:g} minutes, {rate / 1e9:,.0f} GFLOP/s" + (f"; {limit}" if limit else "")
    return RecipeChoice(chosen, config, reason)


def training_flops(model: ModelConfig, vocab_size: int) -> float:
    """Floating-point operations a target token, forward and backward, with as many source tokens.

    Three times two operations for each weight of a matrix that the token passes; attention's own products, small at
    sentence length, are left out.
    """
    projections = model.d_model * model.num_heads * 2 * (model.key_size + model.value_size)
    feed_forward = 2 * model.d_model * model.d_ff
    encoder = model.encoder_layers * (projections + feed_forward)
    decoder = model.decoder_layers * (2 * projections + feed_forward)
    return 6.0 * (encoder + decoder + model.d_model * vocab_size)


def matrix_flops(device: torch.device, size: int = 1536, repeats: int = 5, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a large matrix product on this device: the best of a few."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product = a @ a
        float(product[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
