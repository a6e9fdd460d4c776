"""Files of a run that rank 0 writes and all processes read, on a file system that all hosts share."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.training.distributed.ranks import Ranks

_PATIENCE = 90.0  # seconds; NFS clients may answer from their caches for a minute
_POLL = 0.2


def wait_until_visible(ranks: Ranks, paths: Sequence[Path], patience: float = _PATIENCE) -> None:
    """Wait until this process sees files as rank 0 does; all ranks call this.

    A network file system may show the files of other hosts late. A folder of the same name that is not shared has other
    content, with which this process would compute something else.

    Args:
        ranks: Processes of the run.
        paths: Files that rank 0 has written.
        patience: Seconds to wait.

    Raises:
        UserError: If this host does not see the files, or sees other content.
    """
    if ranks.count == 1:
        return
    expected = ranks.share([sha256(path) for path in paths] if ranks.is_first else None)
    deadline = time.monotonic() + patience
    for path, checksum in zip(paths, expected, strict=True):
        while _checksum(path) != checksum:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{path} is missing on {socket.gethostname()}, or differs from the file that rank 0 wrote. The "
                    "folders of --out and --data must be on a file system that all hosts share."
                )
            time.sleep(_POLL)


def _checksum(path: Path) -> str | None:
    with suppress(UserError):
        return sha256(path)
    return None
