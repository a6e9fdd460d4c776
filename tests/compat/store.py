"""Stores what bundles say, beside them: `python -m tests.compat.store`, where nothing is stored yet."""

from __future__ import annotations

import json

from allyouneed.bundle import load_bundle
from allyouneed.translation.reference_outputs import BEAM_SIZES, translate_references
from tests.compat import BUNDLES
from tests.conftest import toy_pairs

SOURCES = [source for source, _ in toy_pairs(15, seed=5)]

if __name__ == "__main__":
    for folder in BUNDLES:
        place = folder.with_suffix(".json")
        if not place.exists():
            said = {str(beam): translate_references(load_bundle(folder), SOURCES, beam) for beam in BEAM_SIZES}
            place.write_text(json.dumps({"sources": SOURCES, "said": said}, ensure_ascii=False), encoding="utf-8")
