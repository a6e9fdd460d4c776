"""A bundle as files of Marian, with which `peers/marian.py` translates."""

from __future__ import annotations

from pathlib import Path

from allyouneed.bundle import Bundle
from allyouneed.exchange import export_marian_native


def store_marian(bundle: Bundle, folder: Path) -> Path:
    """Export a bundle to a new folder, as `allyouneed export --format marian-native` does, and return the folder."""
    export_marian_native(bundle, folder)
    return folder
