"""Requests that are cancelled: by their client, who has disconnected, or by the shutdown of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allyouneed.serving.api_errors import ApiError

_EXTENSION = "allyouneed.disconnect"
_SHUTTING_DOWN = ApiError(503, "the server is shutting down; try again", 5)


class CancellationMiddleware:
    """Cancels the work for a client that has disconnected, and answers requests that the shutdown cancels with 503.

    Args:
        app: The wrapped application.
        respond: Formats an error for the API that the request belongs to.
    """

    def __init__(self, app: ASGIApp, respond: Callable[[Request, ApiError], Response]):
        self.app, self.respond = app, respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        task, has_left, has_started = asyncio.current_task(), False, False

        def leave() -> None:
            nonlocal has_left
            has_left = True
            if task:
                task.cancel()

        async def send_watched(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        scope.setdefault("extensions", {})[_EXTENSION] = leave
        try:
            await self.app(scope, receive, send_watched)
        except asyncio.CancelledError:
            if not (has_left or has_started):
                await self.respond(Request(scope), _SHUTTING_DOWN)(scope, receive, send)


def cancel_request(scope: Mapping[str, Any]) -> None:
    """Cancel the work for a request, because its client has disconnected."""
    leave: Callable[[], None] | None = scope.get("extensions", {}).get(_EXTENSION)
    if leave:
        leave()
