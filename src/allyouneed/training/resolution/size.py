"""Choice of a recipe by corpus, machine and time if none is named."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from allyouneed.config import Config, ModelConfig, load_recipe

DEFAULT_MINUTES = 30.0
_SIZES = ("tiny", "small", "base", "big")
_PAIRS_NEEDED = {"tiny": 0, "small": 100_000, "base": 1_000_000, "big": 4_000_000}  # smaller corpora overfit
_EPOCHS_NEEDED = 5  # with fewer epochs, a smaller model is better
_TOKENS_PER_PAIR = 25
UTILISATION = 0.4  # share of the peak speed of matrix products that training reaches
_PAIRS_PER_TOKEN = 3  # minimum number of pairs per token of the vocabulary


class RecipeChoice(NamedTuple):
    """A chosen recipe.

    Attributes:
        recipe: Name of the recipe.
        config: Settings of the recipe, with a vocabulary size that fits the corpus.
        reason: Reason for the choice, to show to the user.
    """

    recipe: str
    config: Config
    reason: str


def choose_size(pairs: int, minutes: float, device: torch.device) -> RecipeChoice:
    """Choose the largest recipe for which the corpus and the time are sufficient.

    Args:
        pairs: Number of training pairs.
        minutes: Wall-clock budget.
        device: Device of the training, whose speed is measured if there are enough pairs for a larger recipe.
    """
    rate, chosen, limit = 0.0, _SIZES[0], ""
    for name in _SIZES[1:]:
        if pairs < _PAIRS_NEEDED[name]:
            limit = f"{name} needs {_PAIRS_NEEDED[name]:,} pairs"
            break
        rate = rate or matrix_flops(device)
        config = load_recipe(name)
        work = _EPOCHS_NEEDED * pairs * _TOKENS_PER_PAIR * training_flops(config.model, config.data.vocab_size)
        needed = work / (rate * UTILISATION) / 60
        if minutes < needed:
            limit = f"{name} needs about {needed:,.0f} minutes on this machine"
            break
        chosen = name
    config = load_recipe(chosen)
    vocab_size = min(config.data.vocab_size, max(1000, round(pairs / _PAIRS_PER_TOKEN, -3)))
    config = config.replace(data={"vocab_size": vocab_size}, training={"minutes": minutes})
    reasons = [f"{pairs:,} pairs", f"{minutes:g} minutes", *([f"{rate / 1e9:,.0f} GFLOP/s"] if rate else [])]
    reason = ", ".join(reasons) + (f"; {limit}" if limit else "")
    return RecipeChoice(chosen, config, reason)


def training_flops(model: ModelConfig, vocab_size: int) -> float:
    """Count floating-point operations per pair of a source and a target token, forward and backward.

    Six operations per weight: a multiplication and an addition in the forward pass, twice as many in the backward pass.
    The products of queries, keys and values are omitted, since they are small at sentence length.

    Args:
        model: Sizes of the model.
        vocab_size: Number of tokens in the vocabulary.
    """
    return 6.0 * (model.count_layer_weights() + model.d_model * vocab_size)


def matrix_flops(device: torch.device, size: int = 1536, repeats: int = 5, dtype: torch.dtype = torch.float32) -> float:
    """Measure the floating-point operations per second of a large matrix product: the best of several measurements.

    Args:
        device: The device.
        size: Rows and columns of the square matrices.
        repeats: Number of measurements.
        dtype: Type of the matrices.
    """
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product = a @ a
        float(product[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
