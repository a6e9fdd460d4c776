"""`allyouneed serve`: from RUNs to a listening server."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.serving.server_settings import Settings

_SWITCH_SECONDS = 0.0005  # Python's 0.005 lets a model wait for its lock after every kernel while answers are sent


def serve(runs: Sequence[Path], settings: Settings, say: Callable[[str], None]) -> None:
    """Until a signal; then what was accepted is finished. Errors: `UserError`."""
    try:
        import uvicorn

        from allyouneed.serving.app import build_app
        from allyouneed.serving.protocol import LimitedProtocol
        from allyouneed.serving.telemetry import log_as_json
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install 'allyouneed[serve]'.") from error
    from allyouneed.serving.pairs import load_pairs

    refuse_open_door(settings)
    if not runs:
        raise UserError("nothing to serve: give one RUN or more, made by `allyouneed train`.")
    pairs = load_pairs(runs, settings.compute_type)
    app = build_app(pairs, settings)
    listening = _listen(settings)
    log_as_json()
    sys.setswitchinterval(_SWITCH_SECONDS)
    port = listening.getsockname()[1]
    say(", ".join(f"{source} → {target}" for source, target in sorted(pairs.translators)))
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.seconds) + 1,
    )

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:  # kernels compiled, models loaded: who reads the address may use it at once
                say(f"http://{_shown(settings.host)}:{port}/")

    Announced(config).run(sockets=[listening])


def refuse_open_door(settings: Settings) -> None:
    """Errors: `UserError` when others could come in without a key and nobody said so."""
    if settings.keys or settings.public or _is_loopback(settings.host):
        return
    raise UserError(
        f"--host {settings.host} lets everybody in who can reach this machine. Give --keys FILE (make one with "
        "--add-key NAME), or say --public."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(settings: Settings) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        family, *_, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {settings.host} port {settings.port}: {reason}. Choose another.") from error
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
