"""Notification of systemd (sd_notify): a service of type `notify` counts as started once it accepts requests."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify_supervisor(state: str) -> None:
    """Report a state to the supervisor that started this process; do nothing if there is none, or it has ended.

    Args:
        state: An assignment that systemd knows, such as `READY=1` or `STOPPING=1`.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        # The variable may have been inherited from the supervisor of a parent process, with a socket out of reach.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            notifier.sendall(state.encode())
