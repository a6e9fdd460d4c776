"""Visualisation of attention: an explorer for one sentence, head statistics, and recordings of a forward pass.

The functions listed here return arrays and objects that a notebook displays; `figures` draws them for papers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.insight import figures as figures
    from allyouneed.insight.attribution.attribute import attribute
    from allyouneed.insight.exploration import explore
    from allyouneed.insight.layers.embeddings import embedded_tokens
    from allyouneed.insight.layers.stream import residual_stream_lengths
    from allyouneed.insight.layers.units import feed_forward_units
    from allyouneed.insight.look import LookRequest, look_at
    from allyouneed.insight.patching.patch import patch_models, patch_sentences

__all__ = [
    "LookRequest",
    "attribute",
    "embedded_tokens",
    "explore",
    "feed_forward_units",
    "look_at",
    "patch_models",
    "patch_sentences",
    "residual_stream_lengths",
]

_MODULES = {
    "LookRequest": "look",
    "attribute": "attribution.attribute",
    "embedded_tokens": "layers.embeddings",
    "explore": "exploration",
    "feed_forward_units": "layers.units",
    "look_at": "look",
    "patch_models": "patching.patch",
    "patch_sentences": "patching.patch",
    "residual_stream_lengths": "layers.stream",
}

__getattr__ = lazy.attach(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}, ["figures"])
