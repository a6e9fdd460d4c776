"""`allyouneed paper table3`: variations of a base model, scaled in proportion from the recipes `table3/NAME`.

All rows are trained on the same text for the same number of steps (big: three times as many) and compared on the
validation set, without checkpoint averaging (section 6.2). Each row is a separate RUN, trained by one process with one
thread; there are as many processes as cores.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rich.console import Console

from allyouneed.config import Config, load_recipe
from allyouneed.data.prepare import prepare
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.paper.results_folder import Results
from allyouneed.paper.table3.row_training import TRIAL_SETTINGS, measure_step_seconds, start_worker, train_row
from allyouneed.paper.table3.table3_page import PAPER, write_page
from allyouneed.progress import print_line, time_left
from allyouneed.training.reporting.outcome import INTERRUPTED
from allyouneed.training.request import Request, assignments_of
from allyouneed.training.resolution.identity import identity
from allyouneed.training.resolution.size import training_flops

Changes: TypeAlias = dict[str, dict[str, Any]]  # values by section and name, see `Config.replace`

BASE = "ablation"  # the recipe used instead of the paper's base model
_SIZES = ("d_model", "d_ff", "d_k", "d_v", "encoder_layers", "decoder_layers", "steps")
_TRAINING_SHARE = 0.8  # of the minutes; the rest is for data preparation, validation and writing


class RowJob(NamedTuple):
    """A row to train.

    Attributes:
        name: Name of its recipe, without `table3/`.
        seed: Seed of the training.
    """

    name: str
    seed: int

    @property
    def key(self) -> str:
        """Key of the row in `Results.parts`."""
        return f"{self.name}, seed {self.seed}"


def run_table3(
    request: Request, minutes: float, rows: Sequence[str], seeds: int, console: Console, out: Path | None = None
) -> Path:
    """Train the requested rows that are not trained yet, and write the table of all trained rows.

    Args:
        request: Training text, languages, recipe of the base, and settings of all rows.
        minutes: Approximate time for all rows.
        rows: Letters or names of rows; empty for all.
        seeds: Number of seeds of the base, whose spread shows which differences are significant.
        console: Receives progress.
        out: Folder of the results, see `Results.open`.

    Returns:
        The path of the page.

    Raises:
        UserError: If a row is unknown, there is too little time, or training rejects the request.
    """
    if assignments_of(request.settings, "training.minutes"):
        raise UserError("--set training.minutes: give --minutes, the time for all trainings.")
    for name in ("seed", "average", "validate_every"):
        if assignments_of(request.settings, f"training.{name}"):
            raise UserError(
                f"--set training.{name}: the rows of table 3 fix it. Remove the setting; --seeds repeats the base."
            )
    base = load_recipe(request.recipe or BASE).override(request.settings)
    names = chosen_rows(rows)
    results = Results.open("table3", out, {**identity(request), "minutes": minutes})
    request = replace(request, recipe=request.recipe or BASE, data=results.folder / "data")
    show = partial(print_line, console)
    prepare(request.data_folder, request.train, request.valid, base.data, show, languages=request.languages)
    jobs = [RowJob(name, 1) for name in names] + [RowJob("base", seed) for seed in range(2, seeds + 1)]
    device = choose_device(base.training.device)
    workers = 1 if device.type == "cuda" else min(len(jobs), os.cpu_count() or 1)
    with _worker_pool(workers) as pool:
        steps = results.part("plan", lambda: _plan(pool, workers, request, base, jobs, minutes))["steps"]
        print_line(console, f"{len(jobs)} rows, {steps:,} steps each (big: three times as many), {workers} in parallel")
        missing = [job for job in jobs if job.key not in results.parts]
        requests = {job: _row_request(request, base, job, steps, results.folder) for job in missing}
        _train_rows(pool, results, requests, base, console)
    return write_page(results)


def chosen_rows(rows: Sequence[str]) -> list[str]:
    """Select rows of table 3.

    Args:
        rows: Letters or names; empty for all.

    Returns:
        Names in the paper's order; base is always included.

    Raises:
        UserError: If table 3 has no such row.
    """
    for row in rows:
        if row not in PAPER and row not in list("ABCDE"):
            raise UserError(f"--rows {row}: table 3 has A, B, C, D, E, and {', '.join(PAPER)}.")
    return [name for name in PAPER if not rows or name == "base" or name in rows or name[0] in rows]


def scaled(name: str, base: Config) -> Changes:
    """Scale a row's changes from the paper's base to another base.

    Sizes and steps keep their ratio; heads, dropout, smoothing and positions are used unchanged. The peak learning rate
    is proportional to d_model^-0.5, as in the paper.

    Args:
        name: Name of the row.
        base: The base to change.

    Returns:
        Changes of settings, see `Config.replace`.
    """
    row, paper = load_recipe(f"table3/{name}"), load_recipe("table3/base")
    changes: Changes = {"model": {}, "training": {}}
    for section, values in changes.items():
        row_section, paper_section, base_section = (getattr(config, section) for config in (row, paper, base))
        for key in type(row_section).model_fields:
            value = getattr(row_section, key)
            if value == getattr(paper_section, key):
                continue
            if key in _SIZES:
                ratio = value / (getattr(paper_section, key) or paper_section.key_size)
                value = max(1, round((getattr(base_section, key) or base_section.key_size) * ratio))
            values[key] = value
    if base.training.learning_rate and row.model.d_model != paper.model.d_model:
        rate = base.training.learning_rate * (row.model.d_model / paper.model.d_model) ** -0.5
        changes["training"]["learning_rate"] = float(f"{rate:.6g}")
    return changes


def _assignments(changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Format changes for `Request.settings`."""
    return [f"{section}.{name}={value}" for section, values in changes.items() for name, value in values.items()]


@contextmanager
def _worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of one thread each. Ctrl-C reaches their training too, which then saves and stops."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _plan(
    pool: ProcessPoolExecutor, workers: int, request: Request, base: Config, jobs: Sequence[RowJob], minutes: float
) -> dict[str, Any]:
    """Choose the number of steps per row: `training.steps` if it is set, else as many as fit into the minutes.

    The estimate uses the speed of the base with all workers busy, and the FLOPs of each row.
    """
    if assignments_of(request.settings, "training.steps"):
        return {"steps": base.training.steps}
    folder = request.data_folder.with_name("trials")
    trials = [
        replace(request, out=folder / str(worker), settings=[*request.settings, *TRIAL_SETTINGS])
        for worker in range(workers)
    ]
    seconds = max(pool.map(measure_step_seconds, trials))
    shutil.rmtree(folder)
    work = sum(_work(base.replace(**scaled(job.name, base))) for job in jobs) / _work(base)
    affordable = 60 * minutes * _TRAINING_SHARE * workers / (work * seconds)
    steps = int(affordable)
    if steps < base.training.warmup:
        required = math.ceil(base.training.warmup / affordable * minutes)
        raise UserError(
            f"--minutes {minutes:g} allows {steps} steps per row, fewer than the warm-up: give {required} or more."
        )
    return {"steps": steps, "seconds_per_step": seconds, "rows_of_work": work}


def _train_rows(
    pool: ProcessPoolExecutor, results: Results, requests: Mapping[RowJob, Request], base: Config, console: Console
) -> None:
    """Train rows in descending order of work, so that all workers finish at about the same time."""
    work = {job: _work(base.override(request.settings)) for job, request in requests.items()}
    futures = {pool.submit(train_row, requests[job]): job for job in sorted(requests, key=lambda job: -work[job])}
    start, done = time.perf_counter(), 0.0
    try:
        for future in as_completed(futures):
            job, measured = futures[future], future.result()
            if measured["status"] == INTERRUPTED:
                raise KeyboardInterrupt
            results.store(job.key, {"name": job.name, "seed": job.seed, **measured})
            done += work[job]
            seconds_left = (time.perf_counter() - start) * (sum(work.values()) / done - 1)
            scores = f"perplexity {measured['perplexity']:.2f}, BLEU {measured['bleu']:.1f}"
            print_line(console, f"{job.key}: {scores}, {time_left(seconds_left)}")
    except BrokenExecutor as error:
        raise UserError(
            "a worker process was killed, possibly for lack of memory. Repeat the command to resume."
        ) from error
    except KeyboardInterrupt:
        for worker in active_children():
            worker.terminate()  # SIGTERM: the worker saves its row
        raise
    finally:
        for future in futures:
            future.cancel()


def _work(config: Config) -> float:
    return training_flops(config.model, config.data.vocab_size) * config.training.steps


def _row_request(request: Request, base: Config, job: RowJob, steps: int, folder: Path) -> Request:
    """Apply the row's changes to the shared settings, with the planned steps and no checkpoint averaging (6.2)."""
    planned = base.replace(training={"steps": steps})
    changes = scaled(job.name, planned)
    row_steps = planned.replace(**changes).training.steps
    run = {"steps": row_steps, "validate_every": row_steps, "seed": job.seed, "average": 1}
    settings = [*request.settings, *_assignments(changes), *_assignments({"training": run})]
    return replace(request, out=folder / "rows" / job.key.replace(", ", "-"), settings=settings)
