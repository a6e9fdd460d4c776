"""Store the translations of bundles that have none stored yet: `python -m tests.compat.store`."""

from __future__ import annotations

import json

from allyouneed.bundle import load_bundle
from allyouneed.translation.reference_outputs import BEAM_SIZES, translate_references
from tests.compat import BUNDLES
from tests.conftest import toy_pairs

SOURCES = [source for source, _ in toy_pairs(15, seed=5)]

if __name__ == "__main__":
    for folder in BUNDLES:
        path = folder.with_suffix(".json")
        if not path.exists():
            translations = {str(beam): translate_references(load_bundle(folder), SOURCES, beam) for beam in BEAM_SIZES}
            path.write_text(
                json.dumps({"sources": SOURCES, "said": translations}, ensure_ascii=False), encoding="utf-8"
            )
