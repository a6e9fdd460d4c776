"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017): bring parallel text, get a translator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # else as `__getattr__` does it
    from allyouneed.config import Config, ModelConfig, load_recipe
    from allyouneed.errors import UserError
    from allyouneed.insight.recorder import record
    from allyouneed.model.transformer import Transformer
    from allyouneed.translation.translator import Translation, Translator

__version__ = "0.1.0"
__all__ = ["Config", "ModelConfig", "Transformer", "Translation", "Translator", "UserError", "load_recipe", "record"]

_HOMES = {
    "Config": "allyouneed.config",
    "ModelConfig": "allyouneed.config",
    "load_recipe": "allyouneed.config",
    "Transformer": "allyouneed.model.transformer",
    "Translator": "allyouneed.translation.translator",
    "Translation": "allyouneed.translation.translator",
    "UserError": "allyouneed.errors",
    "record": "allyouneed.insight.recorder",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: `import allyouneed` alone does not load PyTorch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'allyouneed' has no attribute {name!r}")
