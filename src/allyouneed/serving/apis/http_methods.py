"""HEAD, OPTIONS and the Allow header for all routes (RFC 9110, sections 9.3.2, 9.3.7 and 10.2.1)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


class HeadMiddleware:
    """Answers HEAD like GET; uvicorn, which sees the original method, leaves the body out.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


def allow_header(request: Request) -> dict[str, str]:
    """Return the Allow header of a path that exists: the methods of all routes with this path."""
    methods = ["OPTIONS", *(method for method in _METHODS if _is_allowed(request, method))]
    return {"Allow": ", ".join(sorted([*methods, "HEAD"] if "GET" in methods else methods))}


def _is_allowed(request: Request, method: str) -> bool:
    root_path = request.scope.get("app_root_path", "")  # a mounted folder has added its own to `root_path`
    scope = {**request.scope, "method": method, "root_path": root_path}
    for route in request.app.routes:
        if route.matches(scope)[0] is Match.FULL:
            return not isinstance(route, Mount) or method == "GET"  # a mounted folder matches all methods
    return False
