"""What all processes of a run must have in common: options, versions and kernels.

The settings are those of rank 0. A process with other options or other arithmetic would change the result, or miss an
operation in which all take part.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from allyouneed import __version__
from allyouneed.bundle import find_bundle
from allyouneed.errors import UserError
from allyouneed.files import MANIFEST, sha256
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.request import Request

_LONGEST = 100  # characters of a value in a message


def refuse_differences(ranks: Ranks, facts: Mapping[str, object]) -> None:
    """Compare facts of all processes, by name; all ranks call this.

    Raises:
        UserError: On all ranks, if a fact of one differs from that of rank 0.
    """
    (first, expected), *others = ranks.gather((socket.gethostname(), {name: str(fact) for name, fact in facts.items()}))
    for rank, (host, found) in enumerate(others, start=1):
        for name in {**expected, **found}:
            value, other = found.get(name, "None"), expected.get(name, "None")
            if value != other:
                raise UserError(
                    f"rank {rank} on {host} has {name} = {value[:_LONGEST]}, but rank 0 on {first} has "
                    f"{other[:_LONGEST]}. Start all processes with the same options and versions, on the same kind of "
                    "processor."
                )


def facts_of(request: Request) -> dict[str, object]:
    """Return the versions and the options of this process. The paths of text may differ."""
    start, recipe = request.start_from, request.recipe
    return {
        "allyouneed": __version__,
        "PyTorch": torch.__version__,
        "Numba": version("numba") if find_spec("numba") else None,
        "--from, --to": ", ".join(request.languages),
        "--directions": ", ".join("-".join(each) for each in request.directions),
        "--weights": ", ".join(f"{corpus.weight:g}" for corpus in request.train),
        "--recipe": sha256(Path(recipe)) if recipe and Path(recipe).is_file() else recipe,
        **{f"--set {name}": value for name, _, value in (each.partition("=") for each in request.settings)},
        "--start-from": sha256(find_bundle(start) / MANIFEST) if start else None,
        "--dry-run": request.dry_run,
    }
