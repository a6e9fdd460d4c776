"""The temporary folder of documents: deleted when it is closed, or after its process was killed."""

from __future__ import annotations

import os
import subprocess
import sys

from allyouneed.serving.temporary_folder import TemporaryFolder

_KILLED = """
import os, signal
from allyouneed.serving.temporary_folder import TemporaryFolder
folder = TemporaryFolder()
(folder.path / "letter.txt").write_text("secret")
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_process_is_deleted_and_those_in_use_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    used = TemporaryFolder()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", _KILLED], env=environment, capture_output=True, text=True)
    assert killed.returncode < 0
    assert len(list(tmp_path.iterdir())) == 2
    new = TemporaryFolder()
    assert sorted(tmp_path.iterdir()) == sorted([used.path, new.path])
    used.close()
    assert list(tmp_path.iterdir()) == [new.path]
    del new
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_folder_of_this_kind_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    target = tmp_path / "own"
    target.mkdir()
    (tmp_path / "allyouneed-documents-link").symlink_to(target)
    (tmp_path / "allyouneed-documents-file").touch()
    TemporaryFolder().close()
    assert len(list(tmp_path.iterdir())) == 3
