"""The average of several snapshots of the weights (section 6.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allyouneed.snapshots import Snapshots


def average(snapshots: Snapshots, steps: Sequence[int]) -> dict[str, Tensor]:
    """Average one or more snapshots in fp32; raises `UserError` like `Snapshots.load`."""
    mean = {name: tensor.float() / len(steps) for name, tensor in snapshots.load(steps[0]).items()}
    for step in steps[1:]:
        for name, tensor in snapshots.load(step).items():
            torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
    return mean
