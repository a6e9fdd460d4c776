"""Files that rank 0 writes appear late on a network file system, or never on a host that does not share it."""

from __future__ import annotations

import threading

import pytest

from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.distributed.shared_folder import wait_until_visible


class Other(Ranks):
    """Rank 1, to which rank 0 sends a value."""

    def share(self, value):
        assert value is None
        return self.sent


def other(*sent: str) -> Ranks:
    ranks = Other(1, 2)
    object.__setattr__(ranks, "sent", list(sent))
    return ranks


def test_a_late_file_is_waited_for(tmp_path):
    path = tmp_path / "file"
    path.write_text("as it will be")
    ranks = other(sha256(path))
    path.write_text("as it was")
    timer = threading.Timer(0.3, lambda: path.write_text("as it will be"))
    timer.start()
    wait_until_visible(ranks, [path], patience=30)
    timer.join()
    assert path.read_text() == "as it will be"


@pytest.mark.parametrize("content", [None, "of another host"])
def test_a_folder_that_is_not_shared_is_refused(tmp_path, content):
    path = tmp_path / "file"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=r"file is missing on .*, or differs from the file that rank 0 wrote\. The"):
        wait_until_visible(other("0" * 64), [path], patience=0.1)
