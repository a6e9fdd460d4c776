"""Files of a run that rank 0 writes and all processes read, on a file system that all hosts share."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.shared_files import VISIBLE_SECONDS, wait_until
from allyouneed.training.distributed.ranks import Ranks


def wait_until_visible(ranks: Ranks, paths: Sequence[Path], patience: float = VISIBLE_SECONDS) -> None:
    """Wait until this process sees files as rank 0 does; all ranks call this.

    A network file system may show the files of other hosts late. A folder of the same name that is not shared has other
    content, with which this process would compute something else.

    Args:
        ranks: Processes of the run.
        paths: Files that rank 0 has written.
        patience: Seconds to wait for each file.

    Raises:
        UserError: If this host does not see the files, or sees other content.
    """
    if ranks.count == 1:
        return
    expected = ranks.share([sha256(path) for path in paths] if ranks.is_first else None)
    for path, checksum in zip(paths, expected, strict=True):
        if not wait_until(partial(_has_checksum, path, checksum), patience):
            raise UserError(
                f"{path} is missing on {socket.gethostname()}, or differs from the file that rank 0 wrote. The "
                "folders of --out and --data must be on a file system that all hosts share."
            )


def _has_checksum(path: Path, checksum: str) -> bool:
    with suppress(UserError):
        return sha256(path) == checksum
    return False
