"""Worker of `scaling_local.py`: one rank that trains, and measures steps, collectives and bytes on limited links.

It is started once per rank with torchrun's variables in the environment, possibly in a network namespace of its own.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from allyouneed.config import Config
from allyouneed.data.batches import Batch, BatchOrder, Position, collate, share
from allyouneed.data.store import open_store
from allyouneed.training.distributed.ranks import Ranks, join_ranks, leave_ranks
from allyouneed.training.memory import keep_freed_memory
from benchmarks.measure.scaling_model import Ready, buckets
from benchmarks.measure.stepping import Stepper
from benchmarks.measure.workers import serve_request

_SIZES = (2**16, 2**18, 2**20, 2**22, 2**24)  # bytes of the all-reduces that calibrate a link
_REPEATS = 5
_ONE_BUCKET = 1024  # MiB


def measure(request: dict) -> dict:
    """Train with each method on each link.

    Args:
        request: store, settings (a Config), threads, steps, rates (bits per second of the interface; 0 for no limit).

    Returns:
        Target tokens of a step; seconds of all-reduces by size without a limit; seconds after the start of a step at
        which each gradient is complete, and its bytes; for each method and rate, seconds of a step, of the same work
        without communication and of the communication alone, and the bytes that this rank sends.
    """
    torch.set_num_threads(request["threads"])
    keep_freed_memory()
    config, ranks = Config.model_validate(request["settings"]), join_ranks("cpu")
    batches = _shares(request, config, ranks)
    alone = _Trainer(config, Ranks())
    trainers = {method: _Trainer(config, ranks, method) for method in _methods(ranks)}
    for trainer in (alone, *trainers.values()):
        for batch in batches[:3]:  # compiles kernels; DistributedDataParallel arranges its buckets
            trainer(batch)
    tokens = [next(iter(trainers.values()))(batch).tokens for batch in batches[:5]]
    completed = _completion(alone, batches[0])
    result = {"tokens": sum(tokens) / len(tokens), "gradients": completed, "methods": {}}
    result["all_reduce"] = {size: _all_reduce([size], ranks) for size in _SIZES}
    for rate in request["rates"]:
        _limit(rate)
        for method, trainer in trainers.items():
            found = _on_link(trainer, alone, batches, ranks)
            found["communication"] = _all_reduce(_messages(method, completed), ranks)
            result["methods"].setdefault(method, {})[rate] = found
    leave_ranks(ranks)
    return result


class _Trainer(Stepper):
    """A model that is trained with a method to combine gradients: none, "whole", "buckets" or "sharded"."""

    def __init__(self, config: Config, ranks: Ranks, method: str = ""):
        sharding = {"training": {"sharding": "full"}} if method == "sharded" else {}
        super().__init__(config.replace(**sharding), config.data.vocab_size, ranks=ranks)
        if method == "whole":  # DistributedDataParallel with one bucket, which is sent after backward
            self.state.engine = DistributedDataParallel(self.state.engine.module, bucket_cap_mb=_ONE_BUCKET)


def _methods(ranks: Ranks) -> tuple[str, ...]:
    return ("whole", "buckets", "sharded") if ranks.count > 1 else ("",)


def _on_link(trainer: _Trainer, alone: _Trainer, batches: Sequence[Batch], ranks: Ranks) -> dict[str, float]:
    """Alternate steps with and without communication; all ranks begin each at the same time."""
    trainer(batches[0])
    seconds: dict[_Trainer, list[float]] = {trainer: [], alone: []}
    sent = 0
    for batch in batches:
        for each in seconds:
            ranks.wait()
            before = _sent()
            seconds[each].append(each(batch).seconds)
            sent += _sent() - before
    return {"step": median(seconds[trainer]), "alone": median(seconds[alone]), "sent": sent / len(batches)}


def _messages(method: str, completed: Sequence[tuple[float, int]]) -> list[float]:
    """Return the bytes of the all-reduces of a step; with FSDP, of those that send as much as its collectives."""
    gradients = [Ready(seconds, size) for seconds, size in completed]
    if method == "buckets":
        return [part.size for part in buckets(gradients)]
    return [sum(size for _, size in completed) * (1.5 if method == "sharded" else 1)]


def _shares(request: dict, config: Config, ranks: Ranks) -> list[Batch]:
    store = open_store(Path(request["store"]))
    order, position, batches = BatchOrder(store, config.training.batch_tokens, config.training.seed), Position(), []
    for _ in range(request["steps"]):
        pairs, position = order.next(position)
        batches.append(collate(store, share(pairs, ranks.rank, ranks.count)))
    return batches


def _completion(trainer: _Trainer, batch: Batch) -> list[tuple[float, int]]:
    """Return the seconds after the start of a step at which each gradient is complete, and its bytes."""
    seen: list[tuple[float, int]] = []

    def complete(parameter: Tensor) -> None:
        seen.append((time.perf_counter(), parameter.numel() * parameter.element_size()))

    handles = [parameter.register_post_accumulate_grad_hook(complete) for parameter in trainer.model.parameters()]
    start = time.perf_counter()
    trainer(batch)
    for handle in handles:
        handle.remove()
    return [(seconds - start, size) for seconds, size in seen]


def _all_reduce(sizes: Sequence[float], ranks: Ranks) -> float:
    """Return the median seconds of all-reduces of these bytes, one after the other, with nothing else to do."""
    if ranks.count == 1:
        return 0.0
    data, seconds = [torch.zeros(int(size) // 4) for size in sizes], []
    for _ in range(_REPEATS):
        ranks.wait()
        start = time.perf_counter()
        for part in data:
            torch.distributed.all_reduce(part)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _limit(rate: int) -> None:
    """Limit the rate at which this rank's interface sends, in bits per second; 0 removes the limit."""
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    if interface == "lo":
        return
    subprocess.run(["tc", "qdisc", "del", "dev", interface, "root"], capture_output=True)
    if rate:
        burst = max(128 * 1024, rate // 8 // 250)  # a segment of 64 KiB, or what passes in a tick of 4 ms
        limit = ["rate", f"{rate}bit", "burst", str(burst), "latency", "50ms"]
        subprocess.run(["tc", "qdisc", "add", "dev", interface, "root", "tbf", *limit], check=True, capture_output=True)


def _sent() -> int:
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return int(Path(f"/sys/class/net/{interface}/statistics/tx_bytes").read_text())


if __name__ == "__main__":
    serve_request(measure)
