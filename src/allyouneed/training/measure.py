"""Measurement of training speed, to plan the steps for a budget of minutes."""

from __future__ import annotations

import time

from allyouneed.training.loop import FINAL_SENTENCES, Loop
from allyouneed.training.schedule import Speed
from allyouneed.training.validation import validation_loss, validation_scores

_WARM_UP_STEPS = 3
_MIN_STEPS = 5
_SENTENCES = 50
_UNTRAINED = 3  # slowdown of validation for an untrained model, which generates up to the length limit
_BEAM = 3  # time of beam search relative to greedy search


def measure(loop: Loop, seconds: float) -> Speed:
    """Measure the speed by training on real batches and validating once.

    Args:
        loop: A loop used only for the measurement; the caller trains with a new loop.
        seconds: Duration of the training steps.
    """
    for _ in range(_WARM_UP_STEPS):
        loop.step()
    steps, started = 0, time.perf_counter()
    while loop.ranks.any(steps < _MIN_STEPS or time.perf_counter() - started < seconds):
        loop.step()
        steps += 1
    step_seconds = (time.perf_counter() - started) / steps
    validation_scores(loop.bundle, loop.valid, 1, beam_size=1)  # compiles kernels before the measurement
    started = time.perf_counter()
    validation_loss(loop.bundle, loop.valid, loop.bundle.config.training)
    loss_seconds = time.perf_counter() - started
    sentences = min(_SENTENCES, len(loop.valid.texts))
    started = time.perf_counter()
    validation_scores(loop.bundle, loop.valid, sentences, beam_size=1)
    sentence_seconds = (time.perf_counter() - started) / sentences / _UNTRAINED
    validated, scored = (
        min(limit, len(loop.valid.texts)) for limit in (loop.bundle.config.training.bleu_sentences, FINAL_SENTENCES)
    )
    validation_seconds = loss_seconds + validated * sentence_seconds
    beam = _BEAM if loop.bundle.config.search.beam_size > 1 else 1
    final_seconds = 2 * validation_seconds + loss_seconds + scored * sentence_seconds * beam
    return Speed(step_seconds, validation_seconds, final_seconds)
