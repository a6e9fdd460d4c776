"""Bundles that earlier versions wrote, one of each format at least, and what those versions said of a few sentences."""

from pathlib import Path

BUNDLES = sorted(path for path in Path(__file__).parent.glob("format-*") if path.is_dir())
PRE_NORM, POST_NORM = (Path(__file__).parent / name for name in ("format-1", "format-2"))  # trained to reverse letters
IMPORTED = Path(__file__).parent / "format-2-marian"  # of `allyouneed import marian`, its weights random
