"""The worker of `growth.py`: times steps of one size, or runs a loss once, and has the peak of memory over before."""

from __future__ import annotations

import time

import torch

from allyouneed.config import load_recipe
from allyouneed.training.loss import chunked_cross_entropy, smoothed_cross_entropy
from allyouneed.training.memory import keep_freed_memory
from benchmarks.measure.memory import forget_peak, peak_bytes, resident_bytes
from benchmarks.measure.stepping import Stepper, random_batch
from benchmarks.measure.workers import answer

_SMALL = ("d_model=32", "num_heads=1", "d_ff=32", "encoder_layers=1", "decoder_layers=1")
_FEWEST, _MOST = 3, 15  # steps
_SMOOTHING = 0.1


def measure_step(request: dict) -> dict:
    """request: settings, words, sentences, length; share: seconds to spend on steps. -> seconds of each, peak bytes.

    The peak is over the memory before there was a model: weights, their gradients and the optimizers' state are in it.
    """
    config = load_recipe("tiny").override(request["settings"])
    small = config.override(f"model.{setting}" for setting in _SMALL)
    Stepper(small, words=50)(random_batch(2, 4, words=50))  # loads all code, which is memory too
    before = _begin()
    step = Stepper(config, request["words"])
    batch = random_batch(request["sentences"], request["length"], request["words"])
    step(batch)  # the first has pages to take from the kernel
    seconds, begun = [], time.perf_counter()
    while len(seconds) < _FEWEST or (len(seconds) < _MOST and time.perf_counter() - begun < request["share"]):
        seconds.append(step(batch).seconds)
    return {"seconds": seconds, "peak": max(0, peak_bytes() - before)}


def measure_loss(request: dict) -> dict:
    """request: tokens, words, d_model, plain (all logits at once). -> peak bytes over the memory before its inputs."""
    _run_loss({**request, "tokens": 2, "words": 8, "d_model": 16})
    before = _begin()
    _run_loss(request)
    return {"peak": max(0, peak_bytes() - before)}


def _begin() -> int:
    """-> bytes resident before what is measured."""
    keep_freed_memory()  # as training does
    forget_peak()
    return resident_bytes()


def _run_loss(request: dict) -> None:
    """Forward and backward."""
    hidden = torch.randn(request["tokens"], request["d_model"], requires_grad=True)
    weight = torch.randn(request["words"], request["d_model"], requires_grad=True)
    targets = torch.randint(request["words"], (request["tokens"],))
    if request["plain"]:
        loss = smoothed_cross_entropy(hidden @ weight.T, targets, _SMOOTHING)
    else:
        loss, _ = chunked_cross_entropy(hidden, weight, targets, _SMOOTHING)
    loss.backward()


if __name__ == "__main__":
    answer(lambda request: {"step": measure_step, "loss": measure_loss}[request.pop("measure")](request))
