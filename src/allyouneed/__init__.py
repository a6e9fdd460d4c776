"""The Transformer of "Attention Is All You Need" (Vaswani et al., 2017): bring parallel text, get a translator."""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

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
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used: `import allyouneed` alone does not load PyTorch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'allyouneed' has no attribute {name!r}")
