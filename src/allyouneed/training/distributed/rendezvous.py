"""The rendezvous of the processes of a run, before their first collective operation."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import timedelta

from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from allyouneed.errors import UserError
from allyouneed.interruption import run_interruptibly
from allyouneed.training.distributed.lifeline import Lifeline, shortened

_PATIENCE = timedelta(minutes=10)  # for processes on hosts with a slow file system to import PyTorch
_POLL = 0.05  # seconds


def meet(rank: int, count: int, patience: timedelta = _PATIENCE) -> tuple[Store, Lifeline]:
    """Meet the other processes at the address that torchrun announces in the environment.

    torchrun may use one store for all restarts. Each process therefore greets rank 0 with a name of its own and is
    answered with a prefix that is new at each start, so that nobody reads what an earlier process has stored.

    Args:
        rank: Index of this process.
        count: Number of processes.
        patience: How long to wait for the others.

    Returns:
        A store for this start of the processes, and their heartbeats.

    Raises:
        UserError: If the address cannot be reached, or processes are missing.
    """
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    deadline = time.monotonic() + patience.total_seconds()
    try:
        hosts_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        if not hosts_store:
            _wait_for_server(deadline)
        shared = run_interruptibly(lambda: next(iter(rendezvous("env://", rank, count, timeout=patience)))[0])
        prefix = uuid.uuid4().hex if rank == 0 else _greet(shared, rank, deadline)
        alive = PrefixStore(f"{prefix}/life", shared.clone())
        lifeline = Lifeline(alive, rank, count, socket.gethostname(), shared if hosts_store else None)
        shared.add(f"{prefix}/ready", 1)
        if rank == 0:
            _answer(shared, prefix, count, deadline)
        else:
            _wait_for(shared, f"{prefix}/complete", deadline)
    except RuntimeError as error:
        raise UserError(
            f"rank {rank} of {count} did not meet the other processes at {address}: {shortened(error)}. Look for "
            "errors of the other processes, and check that the address is that of rank 0, that its port is free "
            "there, and that this host can reach it."
        ) from error
    lifeline.start()
    return PrefixStore(prefix, shared), lifeline


def _wait_for_server(deadline: float) -> None:
    """Wait until the address accepts connections; PyTorch would print traces of its source code meanwhile."""
    while True:
        try:
            socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=5).close()
        except OSError as error:
            _pause(deadline, (error.strerror or str(error)).lower())
        else:
            return


def _greet(store: Store, rank: int, deadline: float) -> str:
    """Return the prefix with which rank 0 answers."""
    name = uuid.uuid4().hex
    store.set(f"hello/{rank}", name)
    _wait_for(store, f"welcome/{name}", deadline)
    return store.get(f"welcome/{name}").decode()


def _answer(store: Store, prefix: str, count: int, deadline: float) -> None:
    """Answer all greetings, also those of earlier starts, which nobody reads, until all processes are ready."""
    answered: dict[int, bytes] = {}
    while store.add(f"{prefix}/ready", 0) < count:
        for rank in range(1, count):
            if store.check([f"hello/{rank}"]) and (name := store.get(f"hello/{rank}")) != answered.get(rank):
                store.set(f"welcome/{name.decode()}", prefix)
                answered[rank] = name
        _pause(deadline)
    store.set(f"{prefix}/complete", "")


def _wait_for(store: Store, key: str, deadline: float) -> None:
    while not store.check([key]):  # unlike a blocking operation, this can be interrupted by a signal
        _pause(deadline)


def _pause(deadline: float, reason: str = "not all answered in time") -> None:
    if time.monotonic() > deadline:
        raise DistStoreError(reason)
    time.sleep(_POLL)
