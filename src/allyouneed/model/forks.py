"""Processes that are forked from one that has computed: OpenMP's threads do not exist in them.

Whoever waits for such a thread waits forever. In processes that are forked from one with a model, PyTorch and kernels
therefore compute on the calling thread, as PyTorch does in the workers of a DataLoader.
"""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch

_is_limited = False


@cache
def guard() -> None:
    """Let processes that are forked from now on compute with one thread, instead of waiting for others."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_enter_child)


def warn_if_limited() -> None:
    """Warn once if this process was forked from one that computes with several threads."""
    if _is_limited:
        _warn()


def _enter_child() -> None:
    global _is_limited
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _is_limited = True


@cache
def _warn() -> None:
    warnings.warn(
        "this process was forked from one that computes with several threads, so it computes with one. "
        'To use more, start it with multiprocessing.get_context("spawn").',
        stacklevel=4,
    )
