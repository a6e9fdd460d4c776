"""What the heads do, and what each part of attention is for: figures 1 to 5 of the paper, to be played with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.insight.look import look_at

__all__ = ["look_at"]

__getattr__ = lazy.attach(__name__, {"look_at": "allyouneed.insight.look"})
