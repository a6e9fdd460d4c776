"""Translation with a bundle: search (section 6.1 of the paper), its options, scoring and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.translation import bleu_tokenizers as bleu_tokenizers
    from allyouneed.translation import comparison as comparison
    from allyouneed.translation import evaluation as evaluation
    from allyouneed.translation import options
    from allyouneed.translation.back_translation import back_translate
    from allyouneed.translation.comparison import compare
    from allyouneed.translation.evaluation import evaluate
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.results import Translation
    from allyouneed.translation.scoring import score, score_lines
    from allyouneed.translation.text_files import translate_file
    from allyouneed.translation.translator import Translator

__all__ = [
    "SearchOptions",
    "Translation",
    "Translator",
    "back_translate",
    "bleu_tokenizers",
    "compare",
    "comparison",
    "evaluate",
    "evaluation",
    "options",
    "score",
    "score_lines",
    "translate_file",
]

_MODULES = {
    "SearchOptions": "allyouneed.translation.options",
    "Translation": "allyouneed.translation.results",
    "Translator": "allyouneed.translation.translator",
    "back_translate": "allyouneed.translation.back_translation",
    "compare": "allyouneed.translation.comparison",
    "evaluate": "allyouneed.translation.evaluation",
    "score": "allyouneed.translation.scoring",
    "score_lines": "allyouneed.translation.scoring",
    "translate_file": "allyouneed.translation.text_files",
}

__getattr__ = lazy.attach(__name__, _MODULES, ["bleu_tokenizers", "comparison", "evaluation", "options"])
