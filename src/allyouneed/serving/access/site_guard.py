"""Which sites may use the server: checks of the Host and Origin headers.

A page of any site can make the browser of its reader send requests to servers that the browser can reach. If the site's
own name leads to this machine (DNS rebinding), its page can even read the responses; such a request has a name in its
Host header that is not one of this server. Without rebinding, the page can still send forms, whose origin the browser
states. The check of the origin is that of `CrossOriginProtection` in Go's net/http.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allyouneed.serving.access.addresses import host_of, is_address, is_loopback, origin_of
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.server_settings import ServerSettings

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_BAD_REQUEST, _FORBIDDEN, _MISDIRECTED = 400, 403, 421
ANY = "*"


class SiteGuard:
    """Refuses requests that another site makes browsers send.

    Args:
        app: The wrapped application.
        settings: Address, allowed hosts and origins, and public URL.
        respond: Formats an error for the API that the request belongs to.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, respond: Callable[[Request, ApiError], Response]):
        self.app, self.respond = app, respond
        names = [*settings.allowed_hosts, settings.host.strip("[]").lower()]
        origins = list(settings.origins)
        if settings.public_url:
            origins.append(origin_of(settings.public_url))
            names.append(host_of(origins[-1].partition("://")[2]) or "")
        self._any_host, self._is_local = ANY in names, is_loopback(settings.host.strip("[]"))
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_unsniffed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            self._check(scope)
        except ApiError as error:
            request = Request(scope)
            return await self.respond(request, error)(scope, receive, send_unsniffed)
        await self.app(scope, receive, send_unsniffed)

    def _check(self, scope: Scope) -> None:
        """Check the headers of a request.

        Raises:
            ApiError: 400 if the Host header is missing, repeated or malformed, 421 if its name is not one of this
                server, 403 if the request comes from a page of another site.
        """
        hosts: list[str] = []
        origin = site = None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1")
        if not (scope["http_version"] == "1.0" and not hosts):  # health checks of some load balancers have none
            self._check_host(hosts)
        if scope["method"] not in _SAFE_METHODS and not self._is_own_page(origin, site, hosts):
            page = origin or "another site"
            message = f"pages of {page} may not send requests to this server; its operator can allow it: --cors ORIGIN"
            raise ApiError(_FORBIDDEN, message)

    def _check_host(self, hosts: list[str]) -> None:
        host = host_of(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            raise ApiError(_BAD_REQUEST, "the Host header is missing, repeated or malformed")
        if not self.accepts(host):
            message = f"this server is not {host}; its operator can allow the name: --allowed-host {host}"
            raise ApiError(_MISDIRECTED, message)

    def accepts(self, host: str) -> bool:
        """Whether a host is one of this server.

        A loopback name always is, since no site can have it. If other machines can reach the server, it is also known
        by IP addresses and by names without a dot, such as those of containers: a site on the internet has neither.
        """
        if self._any_host or host in self._names or is_loopback(host) or host.endswith(self._suffixes):
            return True
        return not self._is_local and (is_address(host) or "." not in host)

    def _is_own_page(self, origin: str | None, site: str | None, hosts: list[str]) -> bool:
        """Whether a request comes from a page of this server or of an allowed origin, or not from a page at all."""
        if ANY in self._origins or origin in self._origins:
            return True
        if site is not None:
            return site in ("same-origin", "none")
        return origin is None or origin.lower().partition("://")[2] == "".join(hosts).lower()
