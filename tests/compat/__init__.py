"""Bundles written by earlier versions, at least one of each format, with their translations of some sentences."""

from pathlib import Path

BUNDLES = sorted(path for path in Path(__file__).parent.glob("format-*") if path.is_dir())
PRE_NORM, POST_NORM = (Path(__file__).parent / name for name in ("format-1", "format-2"))  # trained to reverse letters
IMPORTED = Path(__file__).parent / "format-2-marian"  # created by `allyouneed import marian`, with random weights
