"""Visualisation of attention: an explorer for one sentence, head statistics, and recordings of a forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.insight.look import LookRequest, look_at

__all__ = ["LookRequest", "look_at"]

__getattr__ = lazy.attach(__name__, {"LookRequest": "allyouneed.insight.look", "look_at": "allyouneed.insight.look"})
