"""The average of several snapshots of the weights (section 6.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allyouneed.snapshots import Snapshots


def average(snapshots: Snapshots, steps: Sequence[int]) -> dict[str, Tensor]:
    """Average one or more snapshots in fp32; raises `UserError` like `Snapshots.load`.

    Weights that are equal in all snapshots, such as frozen ones, are kept exactly.
    """
    first = snapshots.load(steps[0])
    mean, constant = {name: tensor.float() / len(steps) for name, tensor in first.items()}, set(first)
    for step in steps[1:]:
        for name, tensor in snapshots.load(step).items():
            if name in constant and not torch.equal(tensor, first[name]):
                constant.discard(name)
            torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
    return mean | {name: first[name].float() for name in constant}
