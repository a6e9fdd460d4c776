"""Training in several processes: how they meet, notice losses, and share gradients, weights and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.training.distributed import sharded_checkpoint

__all__ = ["sharded_checkpoint"]

__getattr__ = lazy.attach(__name__, {}, ["sharded_checkpoint"])
