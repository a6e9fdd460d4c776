"""Measurement of training speed, to plan the first steps of a budget of minutes."""

from __future__ import annotations

from allyouneed.training.loop import Loop
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.final_scoring import plan_final, time_beam_search
from allyouneed.training.planning.schedule import Speed
from allyouneed.training.validation import validation_loss, validation_scores

_WARM_UP_STEPS = 3
_MIN_STEPS = 5
_OVERTIME = 2  # times the given duration, after which fewer steps suffice
_SENTENCES = 50
_UNTRAINED = 3  # slowdown of translation by an untrained model, which generates up to the length limit


def measure(loop: Loop, seconds: float) -> Speed:
    """Measure the speed by training on real batches, validating once, and sampling the final scoring.

    Args:
        loop: A loop used only for the measurement; the caller trains with a new loop.
        seconds: Duration of the training steps, see `measure_steps`.
    """
    watch = Stopwatch(loop.now)
    bundle, valid, training = loop.bundle, loop.valid, loop.training
    step_seconds = measure_steps(loop, watch, seconds)
    loop.gather()
    if not loop.ranks.is_first:  # only rank 0 validates, and plans
        return Speed(step_seconds, 0.0, 0.0)
    loop.before_search()
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


def measure_steps(loop: Loop, watch: Stopwatch, seconds: float) -> float:
    """Return the seconds per training step, after up to three steps that do not count.

    Args:
        loop: A loop used only for the measurement.
        watch: A stopwatch with the loop's clock.
        seconds: Duration. On a slow machine it is up to twice as long, to measure five steps, and at least two are.
    """
    begun = watch.seconds
    for _ in range(_WARM_UP_STEPS):
        loop.step()
        if loop.ranks.any(watch.seconds - begun > seconds):
            break
    steps, started = 0, watch.seconds
    while loop.ranks.any(_is_too_short(steps, watch.seconds - started, seconds)):
        loop.step()
        steps += 1
    return (watch.seconds - started) / steps


def _is_too_short(steps: int, elapsed: float, seconds: float) -> bool:
    """Return whether to measure more steps."""
    return elapsed < seconds or steps < 2 or (steps < _MIN_STEPS and elapsed < _OVERTIME * seconds)
