"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017): bring parallel text, get a translator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.config import Config, ModelConfig, load_recipe
    from allyouneed.errors import UserError
    from allyouneed.insight.recorder import record
    from allyouneed.model.transformer import Transformer
    from allyouneed.translation.translator import Translation, Translator

__version__ = "0.1.0"
__all__ = ["Config", "ModelConfig", "Transformer", "Translation", "Translator", "UserError", "load_recipe", "record"]

_MODULES = {
    "Config": "allyouneed.config",
    "ModelConfig": "allyouneed.config",
    "load_recipe": "allyouneed.config",
    "Transformer": "allyouneed.model.transformer",
    "Translator": "allyouneed.translation.translator",
    "Translation": "allyouneed.translation.translator",
    "UserError": "allyouneed.errors",
    "record": "allyouneed.insight.recorder",
}

__getattr__ = lazy.attach(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
