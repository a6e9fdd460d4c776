"""A short measurement that turns minutes into steps."""

from __future__ import annotations

import time
from typing import NamedTuple

from allyouneed.training.loop import Loop
from allyouneed.training.validation import validation_loss, validation_scores

_WARM_UP_STEPS = 3
_FEWEST_STEPS = 5
_SENTENCES = 50


class Speed(NamedTuple):
    """Wall-clock seconds of an update and of a whole validation."""

    step_seconds: float
    validation_seconds: float


def measure(loop: Loop, seconds: float) -> Speed:
    """Trains for about so long on real batches, and validates once. The caller starts over afterwards.

    A model that has learnt little talks to the longest length allowed, so that its translating takes longer than later:
    validation is rather over- than underestimated.
    """
    for _ in range(_WARM_UP_STEPS):
        loop.step()
    steps, begun = 0, time.perf_counter()
    while loop.ranks.any(steps < _FEWEST_STEPS or time.perf_counter() - begun < seconds):
        loop.step()
        steps += 1
    step_seconds = (time.perf_counter() - begun) / steps
    begun = time.perf_counter()
    validation_loss(loop.bundle, loop.valid, loop.bundle.config.training)
    loss_seconds = time.perf_counter() - begun
    sentences = min(_SENTENCES, len(loop.valid.texts))
    begun = time.perf_counter()
    validation_scores(loop.bundle, loop.valid, sentences, beam_size=1)
    wanted = min(loop.bundle.config.training.bleu_sentences, len(loop.valid.texts))
    return Speed(step_seconds, loss_seconds + (time.perf_counter() - begun) * wanted / sentences / 4)
