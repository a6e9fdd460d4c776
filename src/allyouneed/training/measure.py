"""Measurement of training speed, to plan the first steps of a budget of minutes."""

from __future__ import annotations

from allyouneed.training.clock import Stopwatch
from allyouneed.training.final_scoring import plan_final, time_beam_search
from allyouneed.training.loop import Loop
from allyouneed.training.schedule import Speed
from allyouneed.training.validation import validation_loss, validation_scores

_WARM_UP_STEPS = 3
_MIN_STEPS = 5
_SENTENCES = 50
_UNTRAINED = 3  # slowdown of translation by an untrained model, which generates up to the length limit


def measure(loop: Loop, seconds: float) -> Speed:
    """Measure the speed by training on real batches, validating once, and sampling the final scoring.

    Args:
        loop: A loop used only for the measurement; the caller trains with a new loop.
        seconds: Duration of the training steps.
    """
    watch = Stopwatch(loop.now)
    bundle, valid, training = loop.bundle, loop.valid, loop.training
    for _ in range(_WARM_UP_STEPS):
        loop.step()
    steps, started = 0, watch.seconds
    while loop.ranks.any(steps < _MIN_STEPS or watch.seconds - started < seconds):
        loop.step()
        steps += 1
    step_seconds = (watch.seconds - started) / steps
    started = watch.seconds
    validation_loss(bundle, valid, training)
    loss_seconds = watch.seconds - started
    sentences = min(_SENTENCES, len(valid.texts))
    started = watch.seconds
    if training.bleu_sentences:
        validation_scores(bundle, valid, sentences, beam_size=1)
    sentence_seconds = (watch.seconds - started) / sentences / _UNTRAINED
    validation_seconds = loss_seconds + min(training.bleu_sentences, len(valid.texts)) * sentence_seconds
    per_sentence = time_beam_search(bundle, valid, loop.now) / _UNTRAINED
    final = plan_final(per_sentence, len(valid.texts), validation_seconds, 60 * (training.minutes or 0.0))
    return Speed(step_seconds, validation_seconds, final)
