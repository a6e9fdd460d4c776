"""Compilation of all kernels of a run before its training, so that it does not count towards a budget of minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from allyouneed import kernels
from allyouneed.config import Config
from allyouneed.training.distributed import Ranks

# Kernels by the functions that they share; each group is compiled in a separate process. "_drop" is the smallest.
_STEP = ("dropout._drop", "dropout._drop_onto", "attention._attend", "attention._attend_backward")
_LOSS = ("loss._lay_out", "loss._token_loss")
_LARGE_PRODUCTS = ("matmul._lay_out", "matmul._lay_out_transposed", "matmul._multiply")
_SEARCH = ("greedy.greedy", "beam.search_beam")
_SMALLEST_LARGE = 256  # smaller products are never compiled, see `kernels.multiplies`


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
    if device.type != "cpu" or config.training.plain or not kernels.installed():
        return
    if model.activation != "relu" or any(width % kernels.LANES for width in widths):
        return  # PyTorch takes over where a kernel does not support the sizes; the others are compiled at first use
    if not ranks.is_first:
        ranks.wait()
    from allyouneed.kernels.precompile import precompile  # loads Numba, which is optional

    started = time.monotonic()
    was_cold = []

    def announce() -> None:
        was_cold.append(True)
        show("compiling kernels for this machine (once, not counted in --minutes; a minute on two idle cores) ...")

    large = _LARGE_PRODUCTS if model.d_model >= _SMALLEST_LARGE else ()
    training = [f"allyouneed.kernels.{name}" for name in (*_STEP, *_LOSS, *large)]
    search = [f"allyouneed.translation.engine.{name}" for name in _SEARCH]
    precompile([[*training, "allyouneed.translation.engine.encoder.encode"], search], announce)
    if was_cold:
        show(f"compiled the kernels in {time.monotonic() - started:.0f} seconds")
    if ranks.is_first:
        ranks.wait()
