"""Choice of `training.micro_batches` by the memory that a step needs and the memory that is available."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from allyouneed.errors import UserError
from allyouneed.training.planning.memory_estimate import LargestStep

_SHARE = 0.9  # of the available memory; the rest is for Python, the data, and errors of the estimate


@dataclass(frozen=True)
class MicroBatches:
    """The number of parts of each batch.

    Attributes:
        count: Parts that are processed in turn.
        memory: Estimated bytes of a step, besides those of the process before; 0 if unknown.
        available: Bytes that were available; 0 if unknown.
    """

    count: int
    memory: int = 0
    available: int = 0

    @property
    def fits(self) -> bool:
        """Whether the estimate leaves a reserve."""
        return self.memory <= _SHARE * self.available


WHOLE = MicroBatches(1)  # batches are not divided


def settle(step: LargestStep, given: int | None, available: int) -> MicroBatches:
    """Keep a given number of parts, or choose the smallest with which the largest step fits into memory.

    Args:
        step: The step that needs most memory.
        given: Number of the settings, or of the run that is resumed; None to choose it.
        available: Bytes that this process can still allocate.

    Raises:
        UserError: If even one sentence at a time needs more memory, and no number is given.
    """

    def with_parts(parts: int) -> MicroBatches:
        return MicroBatches(parts, step.memory(parts).total, available)

    if given is not None:
        return with_parts(given)
    most = max(1, step.config.training.batch_tokens)  # one sentence in each part
    if not (least := with_parts(most)).fits:
        raise UserError(
            f"a training step needs about {least.memory / 1e9:.2g} GB of memory even with one sentence at a time (the "
            f"longest has {step.longest:,} tokens), and {available / 1e9:.2g} GB are available. Free memory, lower "
            "model.d_model, model.d_ff, the number of layers, data.vocab_size or data.max_length, or set "
            "training.micro_batches to train anyway."
        )
    return with_parts(_smallest(lambda parts: with_parts(parts).fits, most))


def describe(chosen: MicroBatches, batch_tokens: int, is_given: bool) -> Iterator[str]:
    """Yield lines for the log: none for whole batches that fit."""
    needed = f"a step needs about {chosen.memory / 1e9:.2g} GB of memory, and {chosen.available / 1e9:.2g} GB"
    if not is_given and chosen.count > 1:
        yield (
            f"training.micro_batches = {chosen.count:,}: each batch of {batch_tokens:,} tokens is processed in "
            f"{chosen.count:,} parts, with the same update; {needed} are available"
        )
    if is_given and not chosen.fits:
        yield f"{needed} are available. If it runs out, raise training.micro_batches, now {chosen.count:,}."


def _smallest(fits: Callable[[int], bool], most: int) -> int:
    """Return the smallest number from 1 that fits, by bisection; `most` fits."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
