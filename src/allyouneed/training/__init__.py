"""Training: loss, optimizers, schedule and time budget, checkpoints, averaging, distillation (section 5 of the paper).

A `Request` is resolved once (`resolve.py`); then a `Loop` is assembled and run (`train.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.data.corpora import as_corpora, training_text
    from allyouneed.kernels.background import compile_early
    from allyouneed.training import clean, distil, loop, train
    from allyouneed.training.distil import Distillation
    from allyouneed.training.distributed.launch import announced_ranks
    from allyouneed.training.distributed.ranks import join_ranks
    from allyouneed.training.request import Request

__all__ = [
    "Distillation",
    "Request",
    "announced_ranks",
    "as_corpora",
    "clean",
    "compile_early",
    "distil",
    "join_ranks",
    "loop",
    "train",
    "training_text",
]

_MODULES = {
    "as_corpora": "allyouneed.data.corpora",
    "training_text": "allyouneed.data.corpora",
    "compile_early": "allyouneed.kernels.background",
    "Distillation": "allyouneed.training.distil",
    "announced_ranks": "allyouneed.training.distributed.launch",
    "join_ranks": "allyouneed.training.distributed.ranks",
    "Request": "allyouneed.training.request",
}

__getattr__ = lazy.attach(__name__, _MODULES, ["clean", "distil", "loop", "train"])
