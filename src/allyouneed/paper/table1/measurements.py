"""`allyouneed paper table1`: time and memory of Table 1's layers on this machine as n and d grow."""

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
from allyouneed.paper.results_folder import Results
from allyouneed.paper.table1.compared_layers import LAYERS
from allyouneed.paper.table1.layer_cost import LayerMeasurement, LayerSize, measure_layers, predict, step_operations
from allyouneed.paper.table1.table1_page import draw, write_page
from allyouneed.paper.table1.tables import Sweeps, make_tables
from allyouneed.progress import print_line
from allyouneed.training.memory import keep_freed_memory
from allyouneed.training.resolution.size import matrix_flops

# CUDA needs larger sizes: with those of the CPU, kernel launch latency would dominate.
SWEEPS = {
    "cpu": Sweeps([2**i for i in range(5, 14)], width=256, widths=[2**i for i in range(5, 12)], length=256),
    "cuda": Sweeps([2**i for i in range(6, 15)], width=512, widths=[2**i for i in range(6, 13)], length=1024),
}


def run_table1(out: Path | None, minutes: float, console: Console, device: str = "auto") -> Path:
    """Measure all layers and write the page.

    Args:
        out: Folder of the results, see `Results.open`.
        minutes: Approximate total time, including that of interrupted calls.
        console: Receives progress.
        device: cpu, cuda or auto.

    Returns:
        The path of the page.

    Raises:
        UserError: If the device does not exist, or the folder was started with other arguments.
    """
    torch_device = choose_device(device)
    keep_freed_memory()  # as training does, so that times are comparable
    results = Results.open("table1", out, {"minutes": minutes, "device": torch_device.type})
    machine = results.part("machine", lambda: _measure_machine(torch_device))
    sweeps = SWEEPS[torch_device.type]
    measured = _measure_sizes(results, sweeps, 60 * minutes, torch_device, console)
    tables = make_tables(measured, sweeps, machine["peak"])
    page = write_page(tables, sweeps, machine["peak"], _device_text(torch_device, machine["threads"]))
    return results.finish(page, tables, draw(measured, sweeps))


def _measure_machine(device: torch.device) -> dict[str, Any]:
    start = time.perf_counter()
    peak = matrix_flops(device)
    return {"peak": peak, "threads": torch.get_num_threads(), "spent": time.perf_counter() - start}


def _device_text(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return "on CUDA"
    return f"with {threads} thread{'s' if threads > 1 else ''} of the processor"


def _measure_sizes(
    results: Results, sweeps: Sweeps, seconds: float, device: torch.device, console: Console
) -> list[LayerMeasurement]:
    """Measure all sizes in ascending order of cost; time that a size does not use goes to the following ones."""
    sizes = sorted(sweeps.sizes(), key=lambda size: sum(step_operations(layer, size) for layer in LAYERS))
    measured: list[LayerMeasurement] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left at most"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        for number, size in enumerate(sizes):
            progress.update(task, description=_key(size), completed=_spent(results))
            remaining = sum(_key(later) not in results.parts for later in sizes[number:])
            share = max(0.0, seconds - _spent(results)) / max(1, remaining)
            measure = partial(_measure_size, size, measured, share, device, partial(progress.advance, task))
            rows = [LayerMeasurement(**row) for row in results.part(_key(size), measure)["rows"]]
            print_line(progress.console, _line(size, rows))
            measured += rows
    return measured


def _measure_size(
    size: LayerSize,
    measured: Sequence[LayerMeasurement],
    seconds: float,
    device: torch.device,
    tick: Callable[[float], None],
) -> dict[str, Any]:
    start = time.perf_counter()
    predicted = {layer.name: predict(layer, size, measured) for layer in LAYERS}
    rows = measure_layers(LAYERS, size, predicted, seconds, device, tick)
    return {"rows": [row._asdict() for row in rows], "spent": time.perf_counter() - start}


def _spent(results: Results) -> float:
    """Sum the seconds of all measurements, including those of interrupted calls."""
    return sum(part["spent"] for part in results.parts.values())


def _key(size: LayerSize) -> str:
    return f"batch {size.batch}, n {size.n}, d {size.d}"


def _line(size: LayerSize, rows: Sequence[LayerMeasurement]) -> str:
    times = (f"{row.layer} {'skipped' if row.seconds is None else f'{1000 * row.seconds:.3g} ms'}" for row in rows)
    return f"{_key(size)}: {' · '.join(times)}"
