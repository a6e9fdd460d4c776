"""Processes that train together in a test, forked from a server that has imported PyTorch once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from allyouneed.training import assemble  # noqa: F401  # what the forked processes need
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.request import Request
from allyouneed.training.train import FINISHED, train

_TIMEOUT = timedelta(minutes=5)


def in_ranks(count: int, folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call `function(ranks, *arguments)` in `count` processes joined by gloo.

    Args:
        count: Number of processes.
        folder: An empty folder.
        function: A function of a module.
        arguments: Arguments that can be pickled.

    Returns:
        The value of each rank.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch.distributed.fsdp", "torch._dynamo"])
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_work, args=(rank, count, folder / "store", sender, function, arguments), daemon=True)
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    try:
        return [_received(receiver) for receiver, _ in pipes]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def train_in_two_ranks(request: Request, folder: Path) -> None:
    """Train in two processes, with the environment that torchrun gives them."""
    assert in_ranks(2, folder, _train, request) == [FINISHED, FINISHED]


def _train(ranks: Ranks, request: Request) -> str:
    os.environ |= {"WORLD_SIZE": str(ranks.count), "RANK": str(ranks.rank), "LOCAL_RANK": str(ranks.rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # required, but the processes have met already
    return train(request, Console(quiet=True)).status


def _received(receiver: Connection) -> Any:
    value, failure = pickle.loads(receiver.recv_bytes())
    if failure:
        raise AssertionError(failure)
    return value


def _work(
    rank: int, count: int, store: Path, sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    try:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=count, timeout=_TIMEOUT
        )
        value = function(Ranks(rank, count), *arguments)
        sender.send_bytes(pickle.dumps((value, "")))  # `send` would pass tensors as shared memory of this process
        if torch.distributed.is_initialized():  # `train` has left the group
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
    except Exception:
        sender.send_bytes(pickle.dumps((None, traceback.format_exc())))
