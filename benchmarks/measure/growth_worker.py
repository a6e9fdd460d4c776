"""Worker of `growth.py`: measures time and peak memory of training steps of one size, or of one loss."""

from __future__ import annotations

import time

import torch

from allyouneed.config import load_recipe
from allyouneed.training.loss import chunked_cross_entropy, smoothed_cross_entropy
from allyouneed.training.memory import keep_freed_memory
from benchmarks.measure.memory import peak_bytes, reset_peak, resident_bytes
from benchmarks.measure.stepping import Stepper, random_batch
from benchmarks.measure.workers import serve_request

_SMALL = {"d_model": 32, "num_heads": 1, "d_ff": 32, "encoder_layers": 1, "decoder_layers": 1}
_MAX_STEPS = 15
_SMOOTHING = 0.1


def measure_step(request: dict) -> dict:
    """Measure training steps.

    Args:
        request: recipe, model (settings), vocab_size, sentences, length, min_steps, and share, the seconds to spend on
            steps.

    Returns:
        Seconds of each step, and the peak memory in bytes above that before the model was built. It includes weights,
        gradients and optimizer state.
    """
    config = load_recipe(request["recipe"]).replace(model=request["model"])
    small = config.replace(model=_SMALL)
    Stepper(small, vocab_size=50)(random_batch(2, 4, vocab_size=50))  # loads all code, which takes memory too
    before = _start()
    step = Stepper(config, request["vocab_size"])
    batch = random_batch(request["sentences"], request["length"], request["vocab_size"])
    step(batch)  # the first step allocates pages
    seconds, start = [], time.perf_counter()
    while len(seconds) < request["min_steps"] or (
        len(seconds) < _MAX_STEPS and time.perf_counter() - start < request["share"]
    ):
        seconds.append(step(batch).seconds)
    return {"seconds": seconds, "peak": max(0, peak_bytes() - before)}


def measure_loss(request: dict) -> dict:
    """Measure a loss.

    Args:
        request: tokens, vocab_size, d_model, and plain (all logits at once).

    Returns:
        The peak memory in bytes above that before the inputs were created.
    """
    _run_loss({**request, "tokens": 2, "vocab_size": 8, "d_model": 16})
    before = _start()
    _run_loss(request)
    return {"peak": max(0, peak_bytes() - before)}


def _start() -> int:
    """Reset the peak and return the resident bytes."""
    keep_freed_memory()  # as in training
    reset_peak()
    return resident_bytes()


def _run_loss(request: dict) -> None:
    """Compute a loss and its gradients."""
    hidden = torch.randn(request["tokens"], request["d_model"], requires_grad=True)
    weight = torch.randn(request["vocab_size"], request["d_model"], requires_grad=True)
    targets = torch.randint(request["vocab_size"], (request["tokens"],))
    if request["plain"]:
        loss = smoothed_cross_entropy(hidden @ weight.T, targets, _SMOOTHING)
    else:
        loss, _ = chunked_cross_entropy(hidden, weight, targets, _SMOOTHING)
    loss.backward()


if __name__ == "__main__":
    serve_request(lambda request: {"step": measure_step, "loss": measure_loss}[request.pop("measure")](request))
