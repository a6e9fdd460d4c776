"""Environment variables of the programs that start several processes of a run: torchrun and Slurm's srun."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from allyouneed.errors import UserError

_NUMBERS = ("RANK", "LOCAL_RANK", "MASTER_PORT")  # numeric environment variables of torchrun
_PATIENCE = 30.0  # seconds
_SRUN = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS", "LOCAL_RANK": "SLURM_LOCALID"}


def announced_ranks() -> int:
    """Return the number of processes that torchrun or srun announces in the environment; 1 without either.

    Raises:
        UserError: If WORLD_SIZE is set, as on some clusters, but torchrun's other variables are not.
    """
    translate_srun(os.environ)
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return 1
    wrong = [] if count.isdecimal() and int(count) else ["WORLD_SIZE"]
    wrong += [name for name in _NUMBERS if not os.environ.get(name, "").isdecimal()]
    wrong += [] if os.environ.get("MASTER_ADDR") else ["MASTER_ADDR"]
    if not wrong:
        is_rank, is_port = int(os.environ["RANK"]) < int(count), 0 < int(os.environ["MASTER_PORT"]) < 2**16
        wrong = [name for name, is_valid in (("RANK", is_rank), ("MASTER_PORT", is_port)) if not is_valid]
    if wrong:
        raise UserError(
            f"WORLD_SIZE is {count} in the environment, but these variables are missing or invalid: "
            f"{', '.join(wrong)}. Start several processes with torchrun, or unset WORLD_SIZE."
        )
    return int(count)


def translate_srun(environment: MutableMapping[str, str]) -> None:
    """Set torchrun's variables from those of srun, if MASTER_ADDR and MASTER_PORT announce where its tasks meet.

    Without them, the tasks of srun are independent runs. Only srun sets SLURM_STEP_NUM_TASKS, not sbatch or salloc.
    """
    given = {name: environment.get(variable, "") for name, variable in _SRUN.items()}
    meets = bool(environment.get("MASTER_ADDR") and environment.get("MASTER_PORT"))
    if "WORLD_SIZE" in environment or not meets or not all(map(str.isdecimal, given.values())):
        return
    environment.update(given)
    counts = _tasks_of_nodes(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = environment.get("SLURM_NODEID", "")
    if node.isdecimal() and int(node) < len(counts):
        environment["LOCAL_WORLD_SIZE"] = str(counts[int(node)])


def _tasks_of_nodes(described: str) -> list[int]:
    """Return the number of tasks of each node, which Slurm describes as "2(x3),1" for 2, 2, 2, 1."""
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", described)
    return [int(count) for count, times in counts for _ in range(int(times or 1))]


def is_elastic() -> bool:
    """Return whether torchrun started this process, which may start another when this one has ended."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def local_rank() -> int:
    """Return the number of this process among those of its run on this host; 0 if nothing is announced."""
    number = os.environ.get("LOCAL_RANK", "")
    return int(number) if number.isdecimal() else 0


@contextmanager
def reporting_once() -> Iterator[None]:
    """Let the first process of each host report an error that all find before they are in contact.

    torchrun then ends the other processes. If it does not within half a minute, only this process has found the error.
    """
    try:
        yield
    except UserError as error:
        if error.is_reported is None and local_rank() > 0:
            time.sleep(_PATIENCE)
        raise
