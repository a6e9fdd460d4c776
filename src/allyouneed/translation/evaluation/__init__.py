"""Evaluation: metrics with their signatures, test sets, scores of a model, and the comparison of two systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.translation.evaluation.bleu_tokenizers import for_text
    from allyouneed.translation.evaluation.comparison import check_page, compare
    from allyouneed.translation.evaluation.evaluator import evaluate, metric_options

__all__ = ["check_page", "compare", "evaluate", "for_text", "metric_options"]

_MODULES = {
    "check_page": "allyouneed.translation.evaluation.comparison",
    "compare": "allyouneed.translation.evaluation.comparison",
    "evaluate": "allyouneed.translation.evaluation.evaluator",
    "for_text": "allyouneed.translation.evaluation.bleu_tokenizers",
    "metric_options": "allyouneed.translation.evaluation.evaluator",
}

__getattr__ = lazy.attach(__name__, _MODULES)
