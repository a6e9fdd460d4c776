"""Table 1 measured: time and memory of its layers on this machine as n grows and as d grows, beside its orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from allyouneed.devices import choose_device
from allyouneed.paper.results import Results
from allyouneed.paper.table1.compared_layers import LAYERS
from allyouneed.paper.table1.layer_cost import Measured, Point, measure_layers, predict, step_operations
from allyouneed.paper.table1.table1_page import draw, write_page
from allyouneed.paper.table1.tables import Sweeps, make_tables
from allyouneed.progress import print_line
from allyouneed.training.memory import keep_freed_memory
from allyouneed.training.size import matrix_flops

# At lengths and widths that keep a processor busy, a GPU shows only what it costs to start its kernels.
SWEEPS = {
    "cpu": Sweeps([2**i for i in range(5, 14)], width=256, widths=[2**i for i in range(5, 12)], length=256),
    "cuda": Sweeps([2**i for i in range(6, 15)], width=512, widths=[2**i for i in range(6, 13)], length=1024),
}


def run_table1(out: Path | None, minutes: float, console: Console, device: str = "auto") -> Path:
    """Measures within about so many minutes, point by point; the same call again goes on. -> the page's path.

    Errors: `UserError` for a device that is not there, a folder begun with other settings, or no matplotlib.
    """
    where = choose_device(device)
    keep_freed_memory()  # so that times are those of training
    results = Results.open("table1", out, {"minutes": minutes, "device": where.type})
    machine = results.part("machine", lambda: _measure_machine(where))
    sweeps = SWEEPS[where.type]
    measured = _measure_points(results, sweeps, 60 * minutes, where, console)
    tables = make_tables(measured, sweeps, machine["peak"])
    page = write_page(tables, sweeps, machine["peak"], _where(where, machine["threads"]))
    return results.finish(page, tables, draw(measured, sweeps))


def _measure_machine(device: torch.device) -> dict[str, Any]:
    begun = time.perf_counter()
    peak = matrix_flops(device)
    return {"peak": peak, "threads": torch.get_num_threads(), "spent": time.perf_counter() - begun}


def _where(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return "on CUDA"
    return f"with {threads} thread{'s' if threads > 1 else ''} of the processor"


def _measure_points(
    results: Results, sweeps: Sweeps, seconds: float, device: torch.device, console: Console
) -> list[Measured]:
    """All points, small to large: what the small ones leave of their share of the time, the larger ones have."""
    points = sorted(sweeps.points(), key=lambda point: sum(step_operations(layer, point) for layer in LAYERS))
    measured: list[Measured] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left at most"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        for number, point in enumerate(points):
            progress.update(task, description=_key(point), completed=_spent(results))
            waiting = sum(_key(later) not in results.parts for later in points[number:])
            tick = partial(progress.advance, task)
            measure = partial(_measure_point, results, point, measured, seconds, waiting, device, tick)
            rows = [Measured(**row) for row in results.part(_key(point), measure)["rows"]]
            print_line(progress.console, _line(point, rows))
            measured += rows
    return measured


def _measure_point(
    results: Results,
    point: Point,
    measured: Sequence[Measured],
    seconds: float,
    waiting: int,
    device: torch.device,
    tick: Callable[[float], None],
) -> dict[str, Any]:
    """seconds: of the whole command; waiting: how many points share what is left of them, this one included."""
    begun = time.perf_counter()
    share = max(0.0, seconds - _spent(results)) / waiting
    predicted = {layer.name: predict(layer, point, measured) for layer in LAYERS}
    rows = measure_layers(LAYERS, point, predicted, share, device, tick)
    return {"rows": [row._asdict() for row in rows], "spent": time.perf_counter() - begun}


def _spent(results: Results) -> float:
    """Seconds that were measured for, by interrupted calls too."""
    return sum(part["spent"] for part in results.parts.values())


def _key(point: Point) -> str:
    return f"batch {point.batch}, n {point.n}, d {point.d}"


def _line(point: Point, rows: Sequence[Measured]) -> str:
    times = (f"{row.layer} {'left out' if row.seconds is None else f'{1000 * row.seconds:.3g} ms'}" for row in rows)
    return f"{_key(point)}: {' · '.join(times)}"
