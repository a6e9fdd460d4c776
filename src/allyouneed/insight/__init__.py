"""Visualisation of attention: an explorer for one sentence, head statistics, and recordings of a forward pass.

The functions listed here return arrays and objects that a notebook displays; `figures` draws them for papers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.insight import figures as figures
    from allyouneed.insight.attribution import attribute
    from allyouneed.insight.embeddings import embedded_tokens
    from allyouneed.insight.exploration import explore
    from allyouneed.insight.look import LookRequest, look_at
    from allyouneed.insight.patching import patch_models, patch_sentences
    from allyouneed.insight.stream import residual_stream_lengths
    from allyouneed.insight.units import feed_forward_units

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
    "attribute": "attribution",
    "embedded_tokens": "embeddings",
    "explore": "exploration",
    "feed_forward_units": "units",
    "look_at": "look",
    "patch_models": "patching",
    "patch_sentences": "patching",
    "residual_stream_lengths": "stream",
}

__getattr__ = lazy.attach(__name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}, ["figures"])
