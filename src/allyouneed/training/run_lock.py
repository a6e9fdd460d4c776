"""The lock of a run's folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.files import cannot_write, intended_name
from allyouneed.shared_files import lock
from allyouneed.snapshots import KEPT
from allyouneed.training.distributed.launch import is_elastic
from allyouneed.training.distributed.lifeline import INTERVAL, MISSED
from allyouneed.training.resolution.run_record import COPY

# Files of a run besides its record and the copy of it. A folder with neither and with other files is not used.
LOCK = ".lock"
_RECORDS = {"run.json", f"run.json{COPY}"}
_RUN_FILES = {LOCK, "data", "distilled", "checkpoints", KEPT, "bundle", "tensorboard", "log.jsonl", "report.html"}
_RESTART_SECONDS = 2 * MISSED * INTERVAL  # for a process that was cut off from the others to end


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Lock the folder of a run, so that two processes cannot write to it.

    After a restart by torchrun, a process on another host, which was cut off, may hold the lock for a while.

    Args:
        out: The folder, which is created if it does not exist.

    Raises:
        UserError: If another process holds the lock, or the folder contains other files or is not writable.
    """
    try:
        names = {intended_name(path.name) for path in out.iterdir()} if out.is_dir() else set()
        if names and not names & _RECORDS and (".lock" not in names or names - _RUN_FILES):
            raise UserError(
                f"{out} contains files that do not belong to a run. Give a new or an empty folder to --out."
            )
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()
        opened = open(out / LOCK, "r+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise cannot_write(out, error) from error
    with opened as file:
        try:
            if not lock(file.fileno(), _RESTART_SECONDS if is_elastic() else 0):
                raise UserError(f"{out}: another process is training this run.")
            os.pwrite(file.fileno(), uuid.uuid4().hex.encode(), 0)  # by which other hosts recognise the folder
        except OSError as error:  # also a file system that does not support locks
            raise cannot_write(out, error) from error
        yield
