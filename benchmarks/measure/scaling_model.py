"""Model of a data-parallel training step: computation, collective operations, and what overlaps.

Times are in seconds, sizes in bytes, rates in bytes per second. The costs of collectives follow NCCL's own estimates
(`src/graph/tuning.cc`): a latency per message of the algorithm, and the bytes that each rank sends over the bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20  # of DistributedDataParallel: `_DEFAULT_FIRST_BUCKET_BYTES`, `bucket_cap_mb`
FP32 = 4  # bytes of a gradient; autocast keeps weights and gradients in fp32

Collective = Callable[[float], float]  # bytes -> seconds


@dataclass(frozen=True)
class Link:
    """Connection between neighbours of a ring or a tree.

    Attributes:
        bandwidth: Bytes per second in each direction: of a GPU inside a node, of a whole node between nodes.
        ring_latency: Seconds per step of a ring.
        tree_latency: Seconds per level of a tree.
    """

    bandwidth: float
    ring_latency: float
    tree_latency: float


@dataclass(frozen=True)
class Network:
    """Nodes with several GPUs each.

    Attributes:
        name: Name in tables.
        inside: Connection between the GPUs of a node.
        between: Connection between nodes.
        per_node: GPUs per node.
    """

    name: str
    inside: Link
    between: Link
    per_node: int = 8

    def nodes(self, ranks: int) -> int:
        """Return the number of nodes that `ranks` GPUs fill."""
        return math.ceil(ranks / self.per_node)

    def bandwidth(self, ranks: int) -> float:
        """Return the rate at which a ring moves data: that of the slower link."""
        return self.inside.bandwidth if ranks <= self.per_node else min(self.inside.bandwidth, self.between.bandwidth)

    def all_reduce(self, size: float, ranks: int) -> float:
        """Return the time of an all-reduce with the faster of ring and tree; both send each byte about twice."""
        if ranks == 1:
            return 0.0
        ring = 2 * self._ring_latency(ranks) + 2 * (ranks - 1) / ranks * size / self.bandwidth(ranks)
        inside = min(ranks, self.per_node) - 1
        levels = math.log2(self.nodes(ranks))
        latency = 2 * (inside * self.inside.tree_latency + levels * self.between.tree_latency)
        return min(ring, latency + 2 * size / (0.92 * self.bandwidth(ranks)))

    def scatter(self, size: float, ranks: int) -> float:
        """Return the time of an all-gather or a reduce-scatter of `size` bytes, half a ring all-reduce."""
        if ranks == 1:
            return 0.0
        return self._ring_latency(ranks) + (ranks - 1) / ranks * size / self.bandwidth(ranks)

    def _ring_latency(self, ranks: int) -> float:
        """Return the latency of one round through the ring."""
        between = self.nodes(ranks) - 1
        return (ranks - 1 - between) * self.inside.ring_latency + between * self.between.ring_latency


@dataclass(frozen=True)
class Ready:
    """A gradient that backward completes. time: When, in seconds or as a share of the pass. size: Bytes."""

    time: float
    size: float


def ring_bytes(size: float, ranks: int) -> float:
    """Return the bytes that each rank sends in an all-reduce, which no algorithm can undercut."""
    return 2 * (ranks - 1) / ranks * size


def buckets(gradients: Sequence[Ready], first: float = FIRST_BUCKET, cap: float = BUCKET) -> list[Ready]:
    """Group gradients as DistributedDataParallel does, in the order in which backward completes them.

    Args:
        gradients: Gradients in this order.
        first: Size at which the first bucket is closed; it is small so that communication begins early.
        cap: Size at which the others are.

    Returns:
        Buckets; each is ready with its last gradient.
    """
    made, size, limit = [], 0.0, first
    for gradient in gradients:
        size += gradient.size
        if size >= limit:
            made.append(Ready(gradient.time, size))
            size, limit = 0.0, cap
    if size:
        made.append(Ready(gradients[-1].time, size))
    return made


def overlapped(parts: Sequence[Ready], end: float, all_reduce: Collective) -> float:
    """Return when the last of the parts is summed, if each is sent once it is ready and the one before it is done.

    Args:
        parts: Buckets in order.
        end: When backward ends.
        all_reduce: Time of an all-reduce.
    """
    done = 0.0
    for part in parts:
        done = max(done, part.time) + all_reduce(part.size)
    return max(done, end)


@dataclass(frozen=True)
class Unit:
    """A unit of FSDP: a layer, or the embedding. forward: Its computation in seconds. size: Bytes of its weights."""

    forward: float
    size: float


def collectives(units: Sequence[Unit]) -> list[Unit]:
    """Return the unit of each collective of FSDP: gathers of forward and backward, and the sums of gradients."""
    return [*units, *units, *units[1:]]


def fully_sharded(units: Sequence[Unit], scatter: Collective) -> float:
    """Return the time of forward and backward with FSDP, whose collectives share one stream.

    Weights are gathered one unit ahead, in backward again; a reduce-scatter follows each unit's backward, which takes
    twice its forward.

    Args:
        units: Units in the order of the forward pass; the weights of the first are not freed after it.
        scatter: Time of an all-gather or a reduce-scatter.
    """
    computed = network = 0.0
    for unit in units:
        network += scatter(unit.size)
        computed = max(computed, network) + unit.forward
    network = gathered = max(computed, network) + scatter(units[-1].size)
    for unit, following in zip(reversed(units), [*reversed(units[1:-1]), None, None], strict=False):
        started = max(computed, gathered)
        if following is not None:
            network = gathered = max(network, started) + scatter(following.size)
        computed = started + 2 * unit.forward
        network = max(network, computed) + scatter(unit.size)
    return max(computed, network)


@dataclass(frozen=True)
class Workload:
    """A training step of a model, counted on its own code (see `scaling_profile.py`).

    Attributes:
        name: Recipe.
        flops: Operations per pair of a source and a target token, forward and backward.
        gradients: Gradients in the order in which backward completes them; times as a share of the step's operations.
        units: FSDP units; `forward` as a share of the step's operations.
        operators: Operators that forward and backward launch.
    """

    name: str
    flops: float
    gradients: tuple[Ready, ...]
    units: tuple[Unit, ...]
    operators: int

    @property
    def bytes(self) -> float:
        """Size of all gradients."""
        return sum(gradient.size for gradient in self.gradients)


@dataclass(frozen=True)
class Accelerator:
    """A GPU.

    Attributes:
        name: Name in tables.
        peak: Dense floating-point operations per second of its data sheet.
        share: Share of the peak that training reaches, by recipe.
        memory: Bandwidth of its memory.
        launch: Seconds between two launched operators at least.
    """

    name: str
    peak: float
    share: dict[str, float]
    memory: float
    launch: float

    def compute(self, work: Workload, tokens: float) -> float:
        """Return the time of forward and backward for pairs of tokens on one GPU."""
        return max(work.operators * self.launch, tokens * work.flops / (self.peak * self.share[work.name]))

    def optimizer(self, work: Workload, shards: int = 1) -> float:
        """Return the time of Adam: per weight, it reads four numbers and writes three."""
        return 7 * work.bytes / shards / self.memory


@dataclass(frozen=True)
class Step:
    """Predicted times of a step: compute of forward, backward and optimizer, communication, and the whole."""

    compute: float
    communication: float
    total: float

    @property
    def exposed(self) -> float:
        """Communication that nothing hides."""
        return self.total - self.compute


def predict(
    work: Workload,
    gpu: Accelerator,
    network: Network,
    ranks: int,
    tokens: float,
    method: str = "buckets",
    imbalance: float = 1.0,
) -> Step:
    """Predict a step.

    Args:
        work: The model.
        gpu: The GPU.
        network: Connections between GPUs.
        ranks: Number of GPUs.
        tokens: Target tokens of the global batch.
        method: "whole": one all-reduce after backward; "buckets": DistributedDataParallel; "sharded": FSDP.
        imbalance: Tokens of the largest share divided by the mean; all ranks wait for it.
    """
    passes = gpu.compute(work, imbalance * tokens / ranks)
    optimizer = gpu.optimizer(work, ranks if method == "sharded" else 1)
    if method == "sharded":
        units = [Unit(unit.forward * passes, unit.size) for unit in work.units]
        end = fully_sharded(units, lambda size: network.scatter(size, ranks))
        communication = sum(network.scatter(unit.size, ranks) for unit in collectives(units))
        return Step(passes + optimizer, communication, end + optimizer)
    gradients = [Ready(gradient.time * passes, gradient.size) for gradient in work.gradients]
    parts = [Ready(passes, work.bytes)] if method == "whole" else buckets(gradients)
    end = overlapped(parts, passes, lambda size: network.all_reduce(size, ranks))
    communication = sum(network.all_reduce(part.size, ranks) for part in parts)
    return Step(passes + optimizer, communication, end + optimizer)


def steps_to_loss(batch: float, noise: float, steps: float, at: float) -> float:
    """Return the updates that a loss needs (McCandlish et al. 2018, equation 2.7).

    Args:
        batch: Target tokens of the batch.
        noise: Critical batch in tokens, at which a loss costs twice the least updates and twice the least tokens.
        steps: Updates that it needs with the batch `at`.
        at: That batch.
    """
    return steps * (1 + noise / batch) / (1 + noise / at)
