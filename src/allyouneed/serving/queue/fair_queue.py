"""A queue that gives each client the same share of the model threads.

Every client has a virtual time: the weight of its items that were taken. The next item is that of the client with the
smallest one, as in Linux's Completely Fair Scheduler. A client that has been idle starts at the virtual time of the
others, so that it neither waits for their queued items nor is owed anything. Heavy and light items of a client have a
virtual time each: a client's own file does not delay its short texts either.

The class is not thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import count
from typing import Any, NamedTuple

current_client: ContextVar[str] = ContextVar("current_client", default="")  # set when a request is admitted


@dataclass(eq=False)
class Submission:
    """Items that a client submitted together.

    Attributes:
        client: Whose items they are.
        key: Items with equal keys may share a batch.
        is_heavy: Whether they occupy a thread for long, such as those of a file.
        is_gone: Whether nobody waits for their results any more.
    """

    client: str
    key: Hashable
    is_heavy: bool = False
    is_gone: bool = False


class QueuedItem(NamedTuple):
    """An item in the queue.

    Attributes:
        submission: What it is a part of.
        position: Index in its submission.
        payload: The item.
        weight: How long it takes, in tokens or another unit.
        ticket: Position in the order of arrival.
    """

    submission: Any
    position: int
    payload: Any
    weight: int
    ticket: int


class Kind(NamedTuple):
    """What the items of a batch have in common; see `Submission`."""

    key: Hashable
    is_heavy: bool


class _Flow:
    """Waiting items of one client, all heavy or all light, by key."""

    __slots__ = ("is_heavy", "queues", "virtual_time")

    def __init__(self, is_heavy: bool, virtual_time: int):
        self.is_heavy, self.virtual_time = is_heavy, virtual_time
        self.queues: dict[Hashable, deque[QueuedItem]] = {}

    @property
    def oldest_key(self) -> Hashable:
        return min(self.queues, key=lambda key: self.queues[key][0].ticket)


class FairQueue:
    """Items of several clients, which are taken in equal shares.

    Attributes:
        waiting: Number of waiting items: [light, heavy].
        weight: Their weight, likewise.
    """

    def __init__(self) -> None:
        self.waiting, self.weight = [0, 0], [0, 0]
        self._flows: dict[tuple[str, bool], _Flow] = {}
        self._virtual_time = 0
        self._tickets = count()

    def __len__(self) -> int:
        return sum(self.waiting)

    def waiting_of(self, client: str) -> int:
        """Return the number of a client's waiting items."""
        flows = [self._flows.get((client, is_heavy)) for is_heavy in (False, True)]
        return sum(len(queue) for flow in flows if flow for queue in flow.queues.values())

    def add(self, submission: Submission, payloads: Sequence[Any], weights: Sequence[int]) -> None:
        """Append the items of a submission."""
        name = submission.client, submission.is_heavy
        flow = self._flows.get(name)
        if flow is None:
            flow = self._flows[name] = _Flow(submission.is_heavy, self._virtual_time)
        elif not flow.queues:
            flow.virtual_time = max(flow.virtual_time, self._virtual_time)
        queue = flow.queues.setdefault(submission.key, deque())
        for index, (payload, weight) in enumerate(zip(payloads, weights, strict=True)):
            queue.append(QueuedItem(submission, index, payload, weight, next(self._tickets)))
        self._count(submission.is_heavy, len(payloads), sum(weights))

    def remove(self, submission: Submission) -> list[QueuedItem]:
        """Remove and return the items of a submission that were not taken."""
        flow = self._flows.get((submission.client, submission.is_heavy))
        queue = flow.queues.get(submission.key) if flow else None
        removed = [item for item in queue or () if item.submission is submission]
        if flow and removed:
            kept = deque(item for item in queue or () if item.submission is not submission)
            if kept:
                flow.queues[submission.key] = kept
            else:
                del flow.queues[submission.key]
            self._count(submission.is_heavy, -len(removed), -sum(item.weight for item in removed))
        return removed

    def next_kind(self, light_only: bool = False) -> Kind:
        """Return the kind of the next batch; there must be such an item."""
        flows = (flow for flow in self._flows.values() if flow.queues and not (light_only and flow.is_heavy))
        flow = min(flows, key=lambda flow: flow.virtual_time)
        return Kind(flow.oldest_key, flow.is_heavy)

    def take(self, kind: Kind, most_items: int, most_weight: int) -> list[QueuedItem]:
        """Take a batch: at least one item, and further ones up to a number and a total weight."""
        flows = [
            (flow.virtual_time, order, flow)
            for order, flow in enumerate(self._flows.values())
            if flow.is_heavy == kind.is_heavy and kind.key in flow.queues
        ]
        heapify(flows)
        self._virtual_time = max(self._virtual_time, flows[0][0])
        batch: list[QueuedItem] = []
        weight = 0
        while flows and len(batch) < most_items:
            _, order, flow = flows[0]
            queue = flow.queues[kind.key]
            if batch and weight + queue[0].weight > most_weight:
                break
            batch.append(queue.popleft())
            weight += batch[-1].weight
            flow.virtual_time += batch[-1].weight
            if queue:
                heapreplace(flows, (flow.virtual_time, order, flow))
            else:
                del flow.queues[kind.key]
                heappop(flows)
        self._count(kind.is_heavy, -len(batch), -weight)
        self._forget_idle_clients()
        return batch

    def _count(self, is_heavy: bool, items: int, weight: int) -> None:
        self.waiting[is_heavy] += items
        self.weight[is_heavy] += weight

    def _forget_idle_clients(self) -> None:
        """Forget the clients without items that are not ahead of the others."""
        now = self._virtual_time if len(self) else None
        idle = [
            name for name, flow in self._flows.items() if not flow.queues and (now is None or flow.virtual_time <= now)
        ]
        for name in idle:
            del self._flows[name]
