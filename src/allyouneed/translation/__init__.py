"""Translation with a bundle: search (section 6.1 of the paper), its options, scoring and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.translation import options
    from allyouneed.translation.back_translation import back_translate
    from allyouneed.translation.draft_learning import store_drafts
    from allyouneed.translation.engine import compile_in_background
    from allyouneed.translation.ensemble import split_runs
    from allyouneed.translation.evaluation.comparison import compare
    from allyouneed.translation.evaluation.evaluator import evaluate
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.protection.finding import KeepOptions
    from allyouneed.translation.requirements import Requirements
    from allyouneed.translation.results import Translation
    from allyouneed.translation.scoring import score, score_lines
    from allyouneed.translation.terminology.glossary import Glossary
    from allyouneed.translation.terminology.glossary_files import read_glossary
    from allyouneed.translation.text_files import translate_file
    from allyouneed.translation.translator import Translator
    from allyouneed.translation.warming import warm

__all__ = [
    "Glossary",
    "KeepOptions",
    "Requirements",
    "SearchOptions",
    "Translation",
    "Translator",
    "back_translate",
    "compare",
    "compile_in_background",
    "evaluate",
    "options",
    "read_glossary",
    "score",
    "score_lines",
    "split_runs",
    "store_drafts",
    "translate_file",
    "warm",
]

_MODULES = {
    "Glossary": "allyouneed.translation.terminology.glossary",
    "KeepOptions": "allyouneed.translation.protection.finding",
    "Requirements": "allyouneed.translation.requirements",
    "SearchOptions": "allyouneed.translation.options",
    "Translation": "allyouneed.translation.results",
    "Translator": "allyouneed.translation.translator",
    "back_translate": "allyouneed.translation.back_translation",
    "compile_in_background": "allyouneed.translation.engine",
    "compare": "allyouneed.translation.evaluation.comparison",
    "evaluate": "allyouneed.translation.evaluation.evaluator",
    "read_glossary": "allyouneed.translation.terminology.glossary_files",
    "score": "allyouneed.translation.scoring",
    "score_lines": "allyouneed.translation.scoring",
    "split_runs": "allyouneed.translation.ensemble",
    "store_drafts": "allyouneed.translation.draft_learning",
    "translate_file": "allyouneed.translation.text_files",
    "warm": "allyouneed.translation.warming",
}

__getattr__ = lazy.attach(__name__, _MODULES, ["options"])
