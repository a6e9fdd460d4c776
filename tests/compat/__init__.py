"""Bundles that earlier versions wrote, one of each format: a model that was trained to reverse letters."""

from pathlib import Path

FORMATS = sorted(Path(__file__).parent.glob("format-*"))
TRAINED = FORMATS[0]
