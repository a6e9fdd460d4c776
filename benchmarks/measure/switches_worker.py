"""The worker of `switches.py`: trains one variant for some steps, and times each."""

from __future__ import annotations

import time
from pathlib import Path

from allyouneed.config import load_recipe
from allyouneed.data.batches import BatchOrder, Position, collate
from allyouneed.data.store import open_store
from allyouneed.training.memory import keep_freed_memory
from benchmarks.measure.stepping import Stepper, compile_with_pytorch, use_pytorchs_own
from benchmarks.measure.workers import answer

_OURS, _COMPILED = "ours", "compiled"  # the paths through the model; the third is "pytorch"


def train(request: dict) -> dict:
    """request: store, words, settings, path, steps. -> seconds and target tokens of each step, building included in
    the first."""
    keep_freed_memory()
    config = load_recipe("tiny").override(request["settings"])
    store = open_store(Path(request["store"]))
    order, position = BatchOrder(store, config.training.batch_tokens, config.training.seed), Position()
    begun = time.perf_counter()
    step = Stepper(config, request["words"])
    if request["path"] == _COMPILED:
        compile_with_pytorch(step.model)
    elif request["path"] != _OURS:
        use_pytorchs_own(step.model)
    building = time.perf_counter() - begun
    steps = []
    for _ in range(request["steps"]):
        pairs, position = order.next(position)
        seconds, tokens = step(collate(store, pairs))
        steps.append([seconds + building, tokens])
        building = 0.0
    return {"steps": steps}


if __name__ == "__main__":
    answer(train)
