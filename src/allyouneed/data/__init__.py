"""Data pipeline: from parallel text to token ids to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.data.blocks import PreparedBlock, prepare_block
    from allyouneed.data.files.formats import RawPair

__all__ = ["PreparedBlock", "RawPair", "prepare_block"]

_MODULES = {"PreparedBlock": "blocks", "RawPair": "files.formats", "prepare_block": "blocks"}

__getattr__ = lazy.attach(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()})
