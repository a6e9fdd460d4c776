"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017): bring parallel text, get a translator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed import config as config
    from allyouneed import quickstart as quickstart
    from allyouneed.config import Config, ModelConfig, load_recipe
    from allyouneed.errors import UserError
    from allyouneed.insight.recorder import record
    from allyouneed.insight.view import view
    from allyouneed.model.transformer import Transformer
    from allyouneed.training.python_api import TrainingResult, train
    from allyouneed.translation.evaluation.comparison import compare
    from allyouneed.translation.evaluation.evaluator import evaluate
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.results import Translation
    from allyouneed.translation.scoring import score
    from allyouneed.translation.translator import Translator
    from allyouneed.verification.verifier import verify

__version__ = "0.1.0"
__all__ = [
    "Config",
    "ModelConfig",
    "SearchOptions",
    "TrainingResult",
    "Transformer",
    "Translation",
    "Translator",
    "UserError",
    "compare",
    "evaluate",
    "load_recipe",
    "record",
    "score",
    "train",
    "verify",
    "view",
]

_MODULES = {
    "Config": "allyouneed.config",
    "ModelConfig": "allyouneed.config",
    "SearchOptions": "allyouneed.translation.options",
    "TrainingResult": "allyouneed.training.python_api",
    "Transformer": "allyouneed.model.transformer",
    "Translation": "allyouneed.translation.results",
    "Translator": "allyouneed.translation.translator",
    "UserError": "allyouneed.errors",
    "compare": "allyouneed.translation.evaluation.comparison",
    "evaluate": "allyouneed.translation.evaluation.evaluator",
    "load_recipe": "allyouneed.config",
    "record": "allyouneed.insight.recorder",
    "score": "allyouneed.translation.scoring",
    "train": "allyouneed.training.python_api",
    "verify": "allyouneed.verification.verifier",
    "view": "allyouneed.insight.view",
}

__getattr__ = lazy.attach(__name__, _MODULES, ["config", "quickstart"])


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
