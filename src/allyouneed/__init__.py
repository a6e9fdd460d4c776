"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017): bring parallel text, get a translator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.config import Config, ModelConfig, load_recipe
    from allyouneed.errors import UserError
    from allyouneed.insight.recorder import record
    from allyouneed.model.transformer import Transformer
    from allyouneed.translation.evaluation import evaluate
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.scoring import score
    from allyouneed.translation.translator import Translation, Translator

__version__ = "0.1.0"
__all__ = [
    "Config",
    "ModelConfig",
    "SearchOptions",
    "Transformer",
    "Translation",
    "Translator",
    "UserError",
    "evaluate",
    "load_recipe",
    "record",
    "score",
]

_MODULES = {
    "Config": "allyouneed.config",
    "ModelConfig": "allyouneed.config",
    "load_recipe": "allyouneed.config",
    "Transformer": "allyouneed.model.transformer",
    "Translator": "allyouneed.translation.translator",
    "Translation": "allyouneed.translation.translator",
    "SearchOptions": "allyouneed.translation.options",
    "evaluate": "allyouneed.translation.evaluation",
    "score": "allyouneed.translation.scoring",
    "UserError": "allyouneed.errors",
    "record": "allyouneed.insight.recorder",
}

__getattr__ = lazy.attach(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
