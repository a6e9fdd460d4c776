"""HTTP server and web page: requests are split into sentences, queued, and translated in batches by model threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed.lazy import attach

if TYPE_CHECKING:
    from allyouneed.serving.access.api_keys import add_key
    from allyouneed.serving.server_settings import ServeOption, ServerSettings
    from allyouneed.serving.startup import serve

__all__ = ["ServeOption", "ServerSettings", "add_key", "serve"]
_SETTINGS = "allyouneed.serving.server_settings"
__getattr__ = attach(
    __name__,
    {
        "ServeOption": _SETTINGS,
        "ServerSettings": _SETTINGS,
        "add_key": "allyouneed.serving.access.api_keys",
        "serve": "allyouneed.serving.startup",
    },
)
