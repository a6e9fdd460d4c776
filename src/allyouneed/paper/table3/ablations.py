"""Table 3: variations on the base model, every row scaled alike from its recipe `table3/NAME` to a base that fits.

Rows train on the same text for equally many steps (big: three times as many) and are compared on the validation set,
without averaging checkpoints (section 6.2). Each row is a RUN of its own, one process and one thread a core.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from allyouneed.config import Config, load_recipe
from allyouneed.data.prepare import PreparedData, prepare
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.paper.results import Results
from allyouneed.paper.table3.table3_page import PAPER, write_page
from allyouneed.progress import print_line
from allyouneed.training.log import RunLog
from allyouneed.training.loop import INTERRUPTED
from allyouneed.training.request import Request, assignments_of, base_config, identity
from allyouneed.training.size import training_flops
from allyouneed.training.train import train

BASE = "ablation"  # the recipe that stands for the paper's base
_SIZES = ("d_model", "d_ff", "d_k", "d_v", "encoder_layers", "decoder_layers", "steps")
_TRIAL_STEPS = 100
_USABLE = 0.8  # of the minutes: the rest is for preparing, validating and writing


class Job(NamedTuple):
    """A row with a seed. `name` is its recipe's, without `table3/`."""

    name: str
    seed: int

    @property
    def key(self) -> str:
        """What `parts.json` calls it."""
        return f"{self.name}, seed {self.seed}"


def run_table3(
    request: Request, minutes: float, rows: Sequence[str], seeds: int, console: Console, out: Path | None = None
) -> Path:
    """Trains the rows that are not trained yet, and writes the table of all that are. -> its page.

    request: text, languages, the recipe of the base, settings that all rows share. rows: letters or names, none for
    all. seeds: of the base, whose spread tells what a difference means; out: where to, see `Results.open`.
    Errors: `UserError` for an unknown row, too few minutes, and all that training refuses.
    """
    if assignments_of(request.settings, "training.minutes"):
        raise UserError("--set training.minutes: give --minutes, which all trainings share.")
    base = load_recipe(request.recipe or BASE).override(request.settings)
    names = chosen_rows(rows)
    results = Results.open("table3", out, {**identity(request), "minutes": minutes})
    request = replace(request, recipe=request.recipe or BASE, data=results.folder / "data")
    prepare(request.data_folder, request.train, request.valid, base.data, partial(print_line, console))
    jobs = [Job(name, 1) for name in names] + [Job("base", seed) for seed in range(2, seeds + 1)]
    device = choose_device(base.training.device)
    workers = 1 if device.type == "cuda" else min(len(jobs), os.cpu_count() or 1)
    with _workers(workers) as pool:
        steps = results.part("plan", lambda: _plan(pool, workers, request, base, jobs, minutes))["steps"]
        print_line(console, f"{len(jobs)} rows, {steps:,} steps each (big: three times), {workers} at a time")
        _train_rows(pool, results, request, base, [job for job in jobs if job.key not in results.parts], steps, console)
    return write_page(results)


def chosen_rows(rows: Sequence[str]) -> list[str]:
    """Names of the rows asked for by name or by letter, in the paper's order, always with the base.

    Errors: `UserError` for a row that table 3 does not have.
    """
    for row in rows:
        if row not in PAPER and row not in list("ABCDE"):
            raise UserError(f"--rows {row}: table 3 has A, B, C, D, E, and {', '.join(PAPER)}.")
    return [name for name in PAPER if not rows or name == "base" or name in rows or name[0] in rows]


def scaled(name: str, base: Config) -> list[str]:
    """What the row changes in the paper's base, as settings that change `base` in proportion.

    Sizes keep their ratio; heads, dropout, smoothing and positions are taken as they are. The peak learning rate
    follows d_model^-0.5, as the paper's does.
    """
    row, paper = load_recipe(f"table3/{name}"), load_recipe("table3/base")
    settings = []
    for section in ("model", "training"):
        ours, theirs, small = (getattr(config, section) for config in (row, paper, base))
        for key in type(ours).model_fields:
            value = getattr(ours, key)
            if value == getattr(theirs, key):
                continue
            if key in _SIZES:
                ratio = value / (getattr(theirs, key) or theirs.key_size)
                value = max(1, round((getattr(small, key) or small.key_size) * ratio))
            settings.append(f"{section}.{key}={value}")
    if base.training.learning_rate and row.model.d_model != paper.model.d_model:
        rate = base.training.learning_rate * (row.model.d_model / paper.model.d_model) ** -0.5
        settings.append(f"training.learning_rate={rate:.6g}")
    return settings


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each. Ctrl-C reaches their training too, which then saves and stops."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between rows; training has a handler of its own
    torch.set_num_threads(1)


def _plan(
    pool: ProcessPoolExecutor, workers: int, request: Request, base: Config, jobs: Sequence[Job], minutes: float
) -> dict[str, Any]:
    """Steps of every row: those asked for by --set training.steps, or as many as fit into the minutes.

    Those follow from the base's speed, with all workers busy, and from each row's FLOPs.
    """
    if assignments_of(request.settings, "training.steps"):
        return {"steps": base.training.steps}
    folder = request.data_folder.with_name("trials")
    trials = [
        replace(request, out=folder / str(worker), settings=[*request.settings, *_trial_settings()])
        for worker in range(workers)
    ]
    seconds = max(pool.map(_seconds_of, trials))
    shutil.rmtree(folder)
    work = sum(_work(base.override(scaled(job.name, base))) for job in jobs) / _work(base)
    affordable = 60 * minutes * _USABLE * workers / (work * seconds)
    steps = int(affordable)
    if steps < base.training.warmup:
        needed = math.ceil(base.training.warmup / affordable * minutes)
        raise UserError(f"--minutes {minutes:g} are {steps} steps a row, less than warm-up: give {needed} or more.")
    return {"steps": steps, "seconds_per_step": seconds, "rows_of_work": work}


def _trial_settings() -> list[str]:
    return [
        f"training.steps={_TRIAL_STEPS}",
        f"training.log_every={_TRIAL_STEPS // 2}",
        "training.bleu_sentences=0",
        "search.beam_size=1",
        "search.max_extra_length=0",
    ]


def _seconds_of(request: Request) -> float:
    """In a worker: seconds a step in the second half of a short training; the first half warms up."""
    train(request, Console(quiet=True))
    halves = [record["seconds"] for record in RunLog(request.out, Console()).records() if record["event"] == "train"]
    return (halves[1] - halves[0]) / (_TRIAL_STEPS / 2)


def _train_rows(
    pool: ProcessPoolExecutor,
    results: Results,
    request: Request,
    base: Config,
    jobs: Sequence[Job],
    steps: int,
    console: Console,
) -> None:
    """Longest first, so that no worker is left alone with the longest at the end."""
    rows = {job: _row_request(request, base, job, steps, results.folder) for job in jobs}
    work = {job: _work(base.override(row.settings)) for job, row in rows.items()}
    futures = {pool.submit(_train_row, rows[job]): job for job in sorted(jobs, key=lambda job: -work[job])}
    begun, done = time.perf_counter(), 0.0
    try:
        for future in as_completed(futures):
            job, facts = futures[future], future.result()
            if facts["status"] == INTERRUPTED:
                raise KeyboardInterrupt
            results.keep(job.key, {"name": job.name, "seed": job.seed, **facts})
            done += work[job]
            left = (time.perf_counter() - begun) * (sum(work.values()) / done - 1) / 60
            scores = f"perplexity {facts['perplexity']:.2f}, BLEU {facts['bleu']:.1f}"
            print_line(console, f"{job.key}: {scores}, {left:.0f} min left")
    except BrokenExecutor as error:
        raise UserError("a worker was killed, perhaps for lack of memory: the same command goes on.") from error
    finally:
        for future in futures:
            future.cancel()


def _work(config: Config) -> float:
    return training_flops(config.model, config.data.vocab_size) * config.training.steps


def _row_request(request: Request, base: Config, job: Job, steps: int, folder: Path) -> Request:
    """The row's changes stand after what all rows share; its steps are the plan's, in its proportion. Nothing is
    averaged, whatever the base's recipe says (section 6.2)."""
    planned = base.override([f"training.steps={steps}"])
    longest = planned.override(scaled(job.name, planned)).training.steps
    run = [f"training.steps={longest}", f"training.validate_every={longest}", f"training.seed={job.seed}"]
    settings = [*request.settings, *scaled(job.name, planned), *run, "training.average=1"]
    return replace(request, out=folder / "rows" / job.key.replace(", ", "-"), settings=settings)


def _train_row(request: Request) -> dict[str, Any]:
    """In a worker: trains the row (or goes on), and tells what the table says of it."""
    begun = time.perf_counter()
    outcome = train(request, Console(quiet=True))
    if outcome.status == INTERRUPTED:
        return {"status": outcome.status}
    config = base_config(request).override(request.settings)
    valid = outcome.scores["valid"]
    vocabulary = len(PreparedData(request.data_folder).tokenizer())
    with torch.device("meta"):
        parameters = Transformer(config.model, vocabulary).num_parameters()
    return {
        "status": outcome.status,
        "perplexity": math.exp(valid["loss"]),
        "bleu": valid["bleu"],
        "bleu_signature": valid["bleu_signature"],
        "beam_size": valid["beam_size"],
        "parameters": parameters,
        "minutes": (time.perf_counter() - begun) / 60,
        "columns": _columns(config),
    }


def _columns(config: Config) -> dict[str, Any]:
    """The settings that table 3 prints, under its names."""
    model = config.model
    return {
        "N": model.encoder_layers,
        "d_model": model.d_model,
        "d_ff": model.d_ff,
        "h": model.num_heads,
        "d_k": model.key_size,
        "d_v": model.value_size,
        "P_drop": model.dropout,
        "ε_ls": config.training.label_smoothing,
        "steps": config.training.steps,
    }
