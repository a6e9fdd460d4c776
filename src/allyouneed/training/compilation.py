"""Compilation of all kernels of a run before its training, so that it does not count towards a budget of minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from allyouneed import kernels
from allyouneed.config import Config
from allyouneed.training.distributed import Ranks
from allyouneed.training.step import uses_bf16

_SMALLEST_LARGE = 256  # smaller products are never compiled, see `kernels.multiplies`


def expect_kernels(config: Config, device: torch.device) -> None:
    """Start the test of kernels in another process, if it is needed, while this one prepares the text."""
    if device.type == "cpu" and not config.training.plain and kernels.installed():
        kernels.capabilities.begin()


def compile_kernels(config: Config, device: torch.device, ranks: Ranks, show: Callable[[str], None]) -> None:
    """Compile the kernels of training, validation and final scoring, or load them from the cache.

    Rank 0 compiles first; the other ranks of the same machine load its results.

    Args:
        config: The settings of the run.
        device: Device of the training; kernels exist for the CPU only.
        ranks: Processes of the run.
        show: Callback that shows a line to the user, if the kernels are not in the cache.
    """
    model = config.model
    widths = (model.d_model, model.d_ff, model.key_size, model.value_size)
    if device.type != "cpu" or config.training.plain or not kernels.work():
        return
    if model.activation != "relu" or any(width % kernels.LANES for width in widths):
        return  # PyTorch takes over where a kernel does not support the sizes; the others are compiled at first use
    if not ranks.is_first:
        ranks.wait()
    started = time.monotonic()
    was_cold = []

    def announce() -> None:
        was_cold.append(True)
        show("compiling kernels for this machine (once, not counted in --minutes; seconds on two idle cores) ...")

    precompile = kernels.precompile  # loads Numba, which is optional
    products = precompile.PRODUCTS if model.d_model >= _SMALLEST_LARGE else ()
    if uses_bf16(config.training, device):
        products = precompile.BF16_PRODUCTS if kernels.has_bf16() else ()
    training = (*precompile.DROPOUT, *precompile.STEP, *precompile.LOSS, *products)
    precompile.precompile([(*training, *precompile.BEAM), (*precompile.ENCODER, *precompile.SEARCH)], announce)
    if was_cold:
        show(f"compiled the kernels in {time.monotonic() - started:.0f} seconds")
    if ranks.is_first:
        ranks.wait()
