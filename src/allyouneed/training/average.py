"""The average of several snapshots of the weights (section 6.1).

A damaged snapshot is left out: the steps of the others are reported, and recorded in the bundle. One that the system
cannot read may be intact, and ends the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from allyouneed.errors import DamagedFile
from allyouneed.snapshots import Snapshots


def intact(snapshots: Snapshots, steps: Sequence[int], show: Callable[[str], None]) -> list[int]:
    """Return the steps whose snapshots are not damaged; the others are shown.

    Raises:
        UserError: If the system cannot read a snapshot.
    """
    kept = []
    for step in steps:
        try:
            snapshots.check(step)
            kept.append(step)
        except DamagedFile as error:
            show(f"the snapshot of step {step} is left out: {error}")
    return kept


def average(snapshots: Snapshots, steps: Sequence[int]) -> dict[str, Tensor]:
    """Average one or more snapshots in fp32; raises `UserError` like `Snapshots.load`, and if they do not match.

    Weights that are equal in all snapshots, such as frozen ones, are kept exactly.
    """
    first = snapshots.load(steps[0])
    mean, constant = {name: tensor.float() / len(steps) for name, tensor in first.items()}, set(first)
    shapes = {name: tensor.shape for name, tensor in first.items()}
    for step in steps[1:]:
        weights = snapshots.load(step)
        if {name: tensor.shape for name, tensor in weights.items()} != shapes:
            raise DamagedFile(f"{snapshots.path(step)}: has other weights than {snapshots.path(steps[0])}. Delete it.")
        for name, tensor in weights.items():
            if name in constant and not torch.equal(tensor, first[name]):
                constant.discard(name)
            torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
    return mean | {name: first[name].float() for name in constant}
