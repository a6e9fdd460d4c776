"""Logits to loss to weights: section 5 of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.training.request import Request

__all__ = ["Request"]

_MODULES = {"Request": "allyouneed.training.request"}

__getattr__ = lazy.attach(__name__, _MODULES)
