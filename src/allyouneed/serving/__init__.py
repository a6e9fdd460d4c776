"""HTTP server and web page: requests are split into sentences, queued, and translated in batches by model threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed.lazy import attach

if TYPE_CHECKING:
    from allyouneed.serving.api_keys import add_key
    from allyouneed.serving.server_settings import ServerSettings
    from allyouneed.serving.startup import serve

__all__ = ["ServerSettings", "add_key", "serve"]
__getattr__ = attach(
    __name__,
    {
        "ServerSettings": "allyouneed.serving.server_settings",
        "add_key": "allyouneed.serving.api_keys",
        "serve": "allyouneed.serving.startup",
    },
)
