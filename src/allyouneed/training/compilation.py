"""Compilation of a run's kernels: those of training before the first step, those of search before it translates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from allyouneed import kernels
from allyouneed.config import Config
from allyouneed.config.model_config import ModelConfig
from allyouneed.kernels.names import AMX, ATTENTION, BEAM, BF16, ENCODER, FP32, GROUPS, OTHER_STEPS, SEARCH
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.planning.clock import Stopwatch

_SMALLEST_LARGE = 256  # smaller products are never compiled, see `kernels.multiplies`


class Compilation:
    """Compiles the kernels of a run, or loads them from the cache, without counting the time.

    Args:
        config: The settings of the run.
        device: Device of the training; kernels exist for the CPU only.
        ranks: Processes of the run.
        show: Callback that shows a line to the user, if kernels are not in the cache.
        watch: The clock of the run, which is paused.
    """

    def __init__(
        self,
        config: Config,
        device: torch.device,
        ranks: Ranks,
        show: Callable[[str], None],
        watch: Stopwatch,
    ):
        self.watch, self._ranks, self._show = watch, ranks, show
        self._config, self._device = config, device

    def begin(self) -> None:
        """Start to compile the kernels of training, while this process prepares the text."""
        if self._is_eligible() and _is_packed(self._config.model):
            is_large = self._config.model.d_model >= _SMALLEST_LARGE
            bf16 = (AMX,) if kernels.disk_cache.lists_instructions("amx_bf16") else (BF16, FP32)
            products = bf16 if self._config.training.precision == "bf16" else (FP32,) if is_large else ()
            kernels.background.compile_early(ATTENTION, OTHER_STEPS, *products)

    def prepare_training(self) -> None:
        """Compile the kernels of training steps. Rank 0 is first; the other ranks of its machine load its results."""
        if not (_is_packed(self._config.model) and self._is_eligible()):
            return
        if not self._ranks.is_first:
            self._ranks.wait()
        if kernels.work():
            self._compile_training()
        if self._ranks.is_first:
            self._ranks.wait()

    def _compile_training(self) -> None:
        groups = (ATTENTION, OTHER_STEPS, *self._products())
        with self.watch.pause(), self._announcing("training") as announce:
            precompile = kernels.precompile  # loads Numba while other processes still compile
            kernels.background.finish_early(announce)
            if kernels.work():  # no process has crashed, as this one would
                precompile.precompile([[name for group in groups for name in GROUPS[group]]], announce)
                for group in groups:
                    precompile.mark_complete(GROUPS[group], group)

    def prepare_search(self) -> None:
        """Compile the kernels of greedy and beam search, unless another process does, which is waited for."""
        groups = (*ENCODER, *SEARCH), BEAM
        if not self._uses_kernels() or all(kernels.launch.load_kernel(name) for group in groups for name in group):
            return
        with self.watch.pause(), self._announcing("translation") as announce, kernels.disk_cache.locked(announce):
            kernels.precompile.precompile(groups, announce)

    def _uses_kernels(self) -> bool:
        """Return whether the run uses kernels; may wait for the test whether they work."""
        return self._is_eligible() and kernels.work()

    def _is_eligible(self) -> bool:
        return self._device.type == "cpu" and not self._config.training.plain

    def _products(self) -> tuple[str, ...]:
        """Return the groups of products that steps use."""
        is_half = self._config.training.precision == "bf16"
        if is_half and kernels.has_amx():
            return (AMX,)
        bf16 = (BF16,) if is_half and kernels.has_bf16() else ()  # whether these are faster is measured later
        return (*bf16, FP32) if bf16 or self._config.model.d_model >= _SMALLEST_LARGE else ()

    @contextmanager
    def _announcing(self, purpose: str) -> Iterator[Callable[[], None]]:
        """Show when a compilation begins, if there is one, and how long it took."""
        started = time.monotonic()
        was_cold = list[bool]()

        def announce() -> None:
            if not was_cold:
                self._show(f"compiling kernels of {purpose} for this machine (once, not counted in --minutes) ...")
            was_cold.append(True)

        yield announce
        if was_cold:
            self._show(f"compiled the kernels in {time.monotonic() - started:.0f} seconds")


def _is_packed(model: ModelConfig) -> bool:
    """Return whether all kernels of training support a model; otherwise they are compiled where they are first used."""
    stacks = model.encoder, model.decoder
    widths = [model.d_model, *(width for stack in stacks for width in (stack.d_ff, stack.d_k, stack.d_v))]
    return not any(width % kernels.LANES for width in widths)
