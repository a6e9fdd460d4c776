"""Worker of `switches.py`: trains one variant and measures the time of each step."""

from __future__ import annotations

import time
from pathlib import Path

from allyouneed.config import load_recipe
from allyouneed.data.batches import BatchOrder, Position, collate
from allyouneed.data.store import open_store
from allyouneed.training.memory import keep_freed_memory
from benchmarks.measure.stepping import Stepper, compile_with_pytorch, use_pytorch_kernels
from benchmarks.measure.workers import serve_request

_OURS, _COMPILED = "ours", "compiled"  # implementations; the third is "pytorch"


def train(request: dict) -> dict:
    """Train and measure.

    Args:
        request: store, vocab_size, settings (a list of arguments of `Config.replace`), path, steps.

    Returns:
        Seconds and target tokens of each step; the first includes build_seconds the model.
    """
    keep_freed_memory()
    config = load_recipe("tiny")
    for sections in request["settings"]:
        config = config.replace(**sections)
    store = open_store(Path(request["store"]))
    order, position = BatchOrder(store, config.training.batch_tokens, config.training.seed), Position()
    start = time.perf_counter()
    step = Stepper(config, request["vocab_size"])
    if request["path"] == _COMPILED:
        compile_with_pytorch(step.model)
    elif request["path"] != _OURS:
        use_pytorch_kernels(step.model)
    build_seconds = time.perf_counter() - start
    steps = []
    for _ in range(request["steps"]):
        pairs, position = order.next(position)
        seconds, tokens = step(collate(store, pairs))
        steps.append([seconds + build_seconds, tokens])
        build_seconds = 0.0
    return {"steps": steps}


if __name__ == "__main__":
    serve_request(train)
