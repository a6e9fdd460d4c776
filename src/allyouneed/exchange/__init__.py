"""Conversion of bundles to CTranslate2, Marian and Argos, and import from Marian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.exchange.argos import argos_translator, export_argos
    from allyouneed.exchange.ctranslate2 import ctranslate2_translator, export_ctranslate2
    from allyouneed.exchange.exporter import export_bundle
    from allyouneed.exchange.importer import import_bundle
    from allyouneed.exchange.marian import export_marian
    from allyouneed.exchange.marian_import import import_marian
    from allyouneed.exchange.marian_inference import largest_logit_difference, marian_translator
    from allyouneed.exchange.marian_native.export import export_marian_native
    from allyouneed.exchange.verification import verify_checksums

__all__ = [
    "argos_translator",
    "ctranslate2_translator",
    "export_argos",
    "export_bundle",
    "export_ctranslate2",
    "export_marian",
    "export_marian_native",
    "import_bundle",
    "import_marian",
    "largest_logit_difference",
    "marian_translator",
    "verify_checksums",
]

_MODULES = {
    "argos_translator": "allyouneed.exchange.argos",
    "ctranslate2_translator": "allyouneed.exchange.ctranslate2",
    "export_argos": "allyouneed.exchange.argos",
    "export_bundle": "allyouneed.exchange.exporter",
    "export_ctranslate2": "allyouneed.exchange.ctranslate2",
    "export_marian": "allyouneed.exchange.marian",
    "export_marian_native": "allyouneed.exchange.marian_native.export",
    "import_bundle": "allyouneed.exchange.importer",
    "import_marian": "allyouneed.exchange.marian_import",
    "largest_logit_difference": "allyouneed.exchange.marian_inference",
    "marian_translator": "allyouneed.exchange.marian_inference",
    "verify_checksums": "allyouneed.exchange.verification",
}

__getattr__ = lazy.attach(__name__, _MODULES)
