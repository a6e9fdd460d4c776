"""Run one or two ranks on this machine, over the loopback interface or a link of limited rate, and predict their steps.

Two ranks on a link live in network namespaces of their own, joined by a pair of virtual Ethernet devices. Linux's token
bucket filter limits the rate at which each of them sends. This needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from allyouneed.config import Config
from allyouneed.data.store import write_store
from allyouneed.paper.results_folder import as_table
from benchmarks.measure.scaling_model import Ready, Unit, buckets, collectives, overlapped, ring_bytes
from benchmarks.measure.switches import synthetic_pairs
from benchmarks.measure.workers import WorkerFailed, run_ranks

_INTERFACE = "link0"
_ADDRESSES = ("10.201.7.1", "10.201.7.2")
_OVERHEAD = 1514 / 1448  # bytes of an Ethernet frame per byte of payload: headers of Ethernet, IP and TCP
_PAIRS = 20_000
METHODS = {"": "", "whole": "one message", "buckets": "buckets (DDP)", "sharded": "sharded (FSDP2)"}  # names in tables


@dataclass(frozen=True)
class Layout:
    """A number of processes and their threads."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} × {self.threads}"


@contextmanager
def linked_namespaces() -> Iterator[list[tuple[str, ...]]]:
    """Create two network namespaces that a virtual Ethernet cable joins, and remove them afterwards.

    Yields:
        For each, the command that starts a process in it. Its interface is `_INTERFACE`, its address in `_ADDRESSES`.

    Raises:
        WorkerFailed: If this is not permitted here.
    """
    if not (shutil.which("ip") and shutil.which("tc")):
        raise WorkerFailed("needs the commands ip and tc (package iproute2)")
    names = [f"allyouneed-{os.getpid()}-{rank}" for rank in range(2)]
    peer = ("peer", "name", _INTERFACE, "netns", names[1])
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", _INTERFACE, "netns", names[0], "type", "veth", *peer)
        for name, address in zip(names, _ADDRESSES, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", _INTERFACE)
            for interface in (_INTERFACE, "lo"):
                _ip("-n", name, "link", "set", interface, "up")
        yield [("ip", "netns", "exec", name) for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise WorkerFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _run(request: dict, layout: Layout, prefixes: Sequence[Sequence[str]] = ()) -> dict:
    """Run one worker per process, and return the result of rank 0; see `scaling_worker.measure`."""
    environment = {"OMP_NUM_THREADS": str(layout.threads), "GLOO_SOCKET_IFNAME": _INTERFACE if prefixes else "lo"}
    address = _ADDRESSES[0] if prefixes else "127.0.0.1"
    request = {**request, "threads": layout.threads}
    return run_ranks("scaling_worker", request, layout.processes, environment, address, prefixes)[0]


@dataclass(frozen=True)
class Measured:
    """A measured step, in seconds.

    Attributes:
        layout: Processes and threads.
        method: "whole": one message after backward; "buckets": DistributedDataParallel; "sharded": FSDP; "" for one
            process.
        tokens: Target tokens of the global batch.
        step: A step.
        alone: The same work without communication, by all ranks at the same time.
        communication: All-reduces of the same sizes, with nothing else to do.
        sent: Bytes that rank 0 sends.
    """

    layout: Layout
    method: str
    tokens: float
    step: float
    alone: float
    communication: float
    sent: float

    @property
    def hidden(self) -> float:
        """Share of the communication that backward hides; negative if communication also slows computation down."""
        return 1 - (self.step - self.alone) / self.communication if self.communication else 0.0


@dataclass(frozen=True)
class LinkRow:
    """A predicted and a measured step on a link. rate: Bits per second."""

    rate: int
    predicted: float
    measured: Measured

    @property
    def error(self) -> float:
        return self.predicted / self.measured.step - 1


def measure_layouts(
    config: Config, layouts: Sequence[Layout], steps: int, log: Callable[[str], None]
) -> list[Measured]:
    """Measure the same global batches with each layout, two processes with each method."""
    rows = []
    for layout in layouts:
        with _store(config) as store:
            found = _run(_request(config, store, steps, [0]), layout)
        for method in found["methods"]:
            rows.append(_measured(layout, method, found, "0"))
            log(
                f"{layout} {METHODS[method]}: {1e3 * rows[-1].step:,.0f} ms per step, {1e3 * rows[-1].alone:,.0f} alone"
            )
    return rows


def measure_links(
    config: Config, units: Sequence[Unit], rates: Sequence[int], steps: int, log: Callable[[str], None]
) -> list[LinkRow]:
    """Measure two ranks on links of each rate, and predict their steps from what was measured without a limit.

    Args:
        config: Settings of the model and the training.
        units: FSDP's units of the model.
        rates: Bits per second.
        steps: Measured steps.
        log: Called with a progress message for each step.

    Raises:
        WorkerFailed: If network namespaces are not permitted.
    """
    layout, rows = Layout(2, 1), []
    with _store(config) as store, linked_namespaces() as prefixes:
        found = _run(_request(config, store, steps, [0, *rates]), layout, prefixes)
    for rate in rates:
        cost = link_cost(found["all_reduce"], rate)
        for method in found["methods"]:
            alone = found["methods"][method]["0"]["alone"]
            predicted = predicted_step(found["gradients"], alone, method, cost, units)
            row = LinkRow(rate, predicted, _measured(layout, method, found, str(rate)))
            log(f"{rate / 1e6:,.0f} Mbit/s, {method}: {1e3 * row.predicted:,.0f} ms predicted, {row.error:+.0%} off")
            rows.append(row)
    return rows


def _measured(layout: Layout, method: str, found: dict, rate: str) -> Measured:
    return Measured(layout, method, found["tokens"], **found["methods"][method][rate])


def link_cost(unlimited: dict[str, float], rate: int, ranks: int = 2) -> Callable[[float], float]:
    """Predict an all-reduce on a link from all-reduces without a limit, whose time is that of the processors.

    Args:
        unlimited: Seconds by bytes, measured without a limit.
        rate: Bits per second; 0 for no limit.
        ranks: Number of ranks.

    Returns:
        Function from bytes to seconds: a latency, the processors' time per byte, and the link's time per byte.
    """
    sizes = sorted(map(int, unlimited))
    latency, longest = unlimited[str(sizes[0])], unlimited[str(sizes[-1])]
    per_byte = max(0.0, longest - latency) / (sizes[-1] - sizes[0])
    on_link = 8 * _OVERHEAD / rate if rate else 0.0
    return lambda size: latency + per_byte * size + on_link * ring_bytes(size, ranks)


def predicted_step(
    completed: Sequence[tuple[float, float]],
    alone: float,
    method: str,
    cost: Callable[[float], float],
    units: Sequence[Unit] = (),
) -> float:
    """Predict a step.

    Args:
        completed: Seconds after the start of a step at which each gradient is complete, and its bytes.
        alone: Seconds of a step without communication.
        method: See `Measured`. On CPUs, FSDP computes and communicates in turn.
        cost: Time of an all-reduce by bytes; an all-gather or a reduce-scatter takes half of it.
        units: Units of FSDP.
    """
    if method == "sharded":
        return alone + sum(cost(unit.size) / 2 for unit in collectives(units))
    gradients = [Ready(seconds, size) for seconds, size in completed]
    end = gradients[-1].time
    parts = [Ready(end, sum(g.size for g in gradients))] if method == "whole" else buckets(gradients)
    return overlapped(parts, end, cost) + max(0.0, alone - end)


def layouts_table(rows: Sequence[Measured]) -> str:
    """Format measured layouts as Markdown, compared with the first."""
    first = rows[0]
    return as_table(
        [
            {
                "processes × threads": str(row.layout),
                "gradients": METHODS[row.method],
                "target tokens/s": f"{row.tokens / row.step:,.0f}",
                f"compared with {first.layout}": f"{first.step / row.step * row.tokens / first.tokens:.2f} ×",
                "step": _ms(row.step),
                "without communication": _ms(row.alone),
                "communication alone": _ms(row.communication) if row.communication else "",
                "hidden": f"{row.hidden:.0%}" if row.communication else "",
                "sent by a rank": f"{row.sent / 1e6:,.1f} MB" if row.communication else "",
            }
            for row in rows
        ]
    )


def links_table(rows: Sequence[LinkRow]) -> str:
    """Format predicted and measured steps as Markdown."""
    return as_table(
        [
            {
                "link": f"{row.rate / 1e6:,.0f} Mbit/s",
                "gradients": METHODS[row.measured.method],
                "predicted step": _ms(row.predicted),
                "measured step": _ms(row.measured.step),
                "error": f"{row.error:+.0%}",
                "communication alone": _ms(row.measured.communication),
                "hidden": f"{row.measured.hidden:.0%}",
                "sent by a rank": f"{row.measured.sent / 1e6:,.1f} MB",
            }
            for row in rows
        ]
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f} ms"


@contextmanager
def _store(config: Config) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "synthetic"
        write_store(store, [synthetic_pairs(_PAIRS, config.data.vocab_size)])
        yield store


def _request(config: Config, store: Path, steps: int, rates: Sequence[int]) -> dict:
    return {"store": str(store), "settings": config.model_dump(mode="json"), "steps": steps, "rates": list(rates)}
