"""Translation with a bundle: search (section 6.1 of the paper), its options, scoring and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.translation import options
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.text_files import evaluate_files, score_files, translate_file
    from allyouneed.translation.translator import Translation, Translator

__all__ = [
    "SearchOptions",
    "Translation",
    "Translator",
    "evaluate_files",
    "options",
    "score_files",
    "translate_file",
]

_MODULES = {
    "SearchOptions": "allyouneed.translation.options",
    "Translation": "allyouneed.translation.translator",
    "Translator": "allyouneed.translation.translator",
    "evaluate_files": "allyouneed.translation.text_files",
    "score_files": "allyouneed.translation.text_files",
    "translate_file": "allyouneed.translation.text_files",
}

__getattr__ = lazy.attach(__name__, _MODULES, ["options"])
