"""Models of other systems: what they are, import as a bundle, and export of bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.exchange.argos.export import argos_translator, check_argos, export_argos
    from allyouneed.exchange.ctranslate2.export import check_ctranslate2, ctranslate2_translator, export_ctranslate2
    from allyouneed.exchange.description import describe_model
    from allyouneed.exchange.exporter import export_bundle
    from allyouneed.exchange.hugging_face.export import check_marian, export_marian
    from allyouneed.exchange.hugging_face.inference import largest_logit_difference, marian_translator
    from allyouneed.exchange.importer import import_bundle
    from allyouneed.exchange.marian_native.export import check_marian_native, export_marian_native
    from allyouneed.exchange.verification import verify_checksums

__all__ = [
    "argos_translator",
    "check_argos",
    "check_ctranslate2",
    "check_marian",
    "check_marian_native",
    "ctranslate2_translator",
    "describe_model",
    "export_argos",
    "export_bundle",
    "export_ctranslate2",
    "export_marian",
    "export_marian_native",
    "import_bundle",
    "largest_logit_difference",
    "marian_translator",
    "verify_checksums",
]

_MODULES = {
    "argos_translator": "allyouneed.exchange.argos.export",
    "check_argos": "allyouneed.exchange.argos.export",
    "check_ctranslate2": "allyouneed.exchange.ctranslate2.export",
    "check_marian": "allyouneed.exchange.hugging_face.export",
    "check_marian_native": "allyouneed.exchange.marian_native.export",
    "ctranslate2_translator": "allyouneed.exchange.ctranslate2.export",
    "describe_model": "allyouneed.exchange.description",
    "export_argos": "allyouneed.exchange.argos.export",
    "export_bundle": "allyouneed.exchange.exporter",
    "export_ctranslate2": "allyouneed.exchange.ctranslate2.export",
    "export_marian": "allyouneed.exchange.hugging_face.export",
    "export_marian_native": "allyouneed.exchange.marian_native.export",
    "import_bundle": "allyouneed.exchange.importer",
    "largest_logit_difference": "allyouneed.exchange.hugging_face.inference",
    "marian_translator": "allyouneed.exchange.hugging_face.inference",
    "verify_checksums": "allyouneed.exchange.verification",
}

__getattr__ = lazy.attach(__name__, _MODULES)
