"""Host names and IP addresses: of the server, of the Host header, and of clients."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"(?:\[(?P<literal>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]*)?", re.ASCII | re.IGNORECASE)
_NETWORK_BITS = 64  # of IPv6: what a provider gives to one customer at least


def host_of(header: str) -> str | None:
    """Return the host of a Host header in lower case, without its port; None if it is malformed."""
    found = _HOST.fullmatch(header)
    return (found["literal"] or found["name"]).lower().rstrip(".") if found else None


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    return _address(host) is not None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or by a name that always means it (RFC 6761)."""
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def network_of(client: str) -> str:
    """Return what identifies a client: its address, or the network of an IPv6 address, since a client has many."""
    address = _address(client)
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address.packed, _NETWORK_BITS), strict=False))
    return str(address) if address else ""


def bracketed(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def ascii_host(name: str) -> str:
    """Return a host name in the form that browsers send.

    Args:
        name: A name, which may have characters of any language, or a name after `*.`.

    Raises:
        ValueError: If it is not a name; it has a port, for example.
    """
    star, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        host = host_of(bracketed(rest) if is_address(rest) else rest.encode("idna").decode())
    except UnicodeError:
        host = None
    if not host or (":" in rest and not is_address(rest)):
        raise ValueError(f"{name} is not a host name: give it without a scheme, port or path")
    return star + host


def checked_url(url: str) -> str:
    """Return the address of a server without a slash at its end.

    Raises:
        ValueError: If it is not an address of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"{url} is not the address of a server, such as https://translate.example.org")
    ascii_host(parts.hostname)
    origin_of(url)  # the port must be a number
    return url.rstrip("/")


def checked_origin(origin: str) -> str:
    """Return the origin of a page without a slash at its end; `*` and `null` are allowed, as in CORS.

    Raises:
        ValueError: If it is not an origin.
    """
    scheme, separator, host = origin.rstrip("/").partition("://")
    if origin not in ("*", "null") and not (scheme and separator and host and "/" not in host):
        raise ValueError(f"{origin} is not the origin of a page, such as https://www.example.org")
    return origin.rstrip("/")


def origin_of(url: str) -> str:
    """Return the origin of a URL as browsers send it: scheme, host, and the port unless it is the default."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{bracketed(parts.hostname or '')}{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
