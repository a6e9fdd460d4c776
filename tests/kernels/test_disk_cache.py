"""The folder of compiled kernels: which edits outdate a kernel, and when the folder is complete."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from allyouneed.kernels import disk_cache

KERNELS, ENGINE = disk_cache._COMPILED


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder of compiled kernels."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for function in (disk_cache.folder, disk_cache._mark):
        function.cache_clear()
    yield disk_cache.folder()
    for function in (disk_cache.folder, disk_cache._mark):
        function.cache_clear()


@pytest.mark.parametrize(
    ("kernel", "needed", "unrelated"),
    [
        (
            ENGINE / "greedy.py",
            {ENGINE / "members.py", ENGINE / "screen.py", KERNELS / "product.py", KERNELS / "__init__.py"},
            {ENGINE / "beam.py", ENGINE / "encoder.py", KERNELS / "matmul.py", KERNELS / "loss.py"},
        ),
        (KERNELS / "dropout.py", {KERNELS / "simd_memory.py", KERNELS / "compiler.py"}, {KERNELS / "product.py"}),
        (ENGINE / "encoder.py", {KERNELS / "attention_rows.py", ENGINE / "layers.py"}, {ENGINE / "greedy.py"}),
    ],
)
def test_a_kernel_depends_on_the_files_that_it_imports(kernel, needed, unrelated):
    found = disk_cache.sources(kernel)
    assert needed <= found
    assert not unrelated & found


def test_an_edit_of_an_imported_file_changes_the_hash(tmp_path, monkeypatch):
    package = tmp_path / "allyouneed"
    (package / "kernels").mkdir(parents=True)
    texts = {
        "a": "from allyouneed.kernels import (\n    LANES,\n    b,\n)\n",
        "b": "from allyouneed.kernels.c import f\n",
        "c": "from allyouneed.kernels import a\n",  # a cycle
        "d": "from allyouneed.kernels import a\n",
        "__init__": "LANES = 16\n",
    }
    for name, text in texts.items():
        (package / "kernels" / f"{name}.py").write_text(text)
    monkeypatch.setattr(disk_cache, "_PACKAGE", package)
    monkeypatch.setattr(disk_cache, "_COMPILED", (package / "kernels",))

    def found() -> str:
        return disk_cache.sources_hash.__wrapped__(package / "kernels" / "a.py")

    before = found()
    (package / "kernels" / "d.py").write_text("changed\n")
    assert found() == before
    for name in ("c", "__init__"):
        (package / "kernels" / f"{name}.py").write_text("changed\n")
        assert found() != before
        (package / "kernels" / f"{name}.py").write_text(texts[name])
        assert found() == before


def test_a_folder_is_complete_once_it_is_marked(empty):
    assert not disk_cache.is_complete()
    (empty / "complete-of-another-version").touch()
    (empty / "dropout._drop.kernel").touch()
    with disk_cache.locked():
        disk_cache.mark_complete()
    assert disk_cache.is_complete()
    assert [file.name for file in empty.glob("complete-*")] == [disk_cache._mark()]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_whoever_waits_for_another_process_says_so(empty):
    """Locks of two open files exclude each other, as those of two processes."""
    import fcntl

    waited = []
    with disk_cache.locked(lambda: pytest.fail("nobody is waited for")):
        pass
    with open(empty / "lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def finish() -> None:
            waited.append(1)
            fcntl.flock(other, fcntl.LOCK_UN)

        with disk_cache.locked(finish):
            assert waited == [1]


def test_a_part_of_the_kernels_has_a_mark_of_its_own(empty):
    (empty / "training-complete-of-another-version").touch()
    (kernel := empty / "dropout._drop.kernel").touch()
    disk_cache.mark_complete("training")
    assert disk_cache.is_complete("training")
    assert not disk_cache.is_complete()
    assert set(empty.iterdir()) == {kernel, empty / disk_cache._mark("training")}
    disk_cache.mark_complete()
    (empty / disk_cache._mark("training")).unlink()
    assert disk_cache.is_complete("training")  # with all others


def test_the_mark_depends_on_what_numba_compiles_for(empty, monkeypatch):
    before = disk_cache._mark.__wrapped__()
    assert disk_cache._mark.__wrapped__() == before
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert disk_cache._mark.__wrapped__() != before


def test_without_a_writable_folder_there_is_none(empty, monkeypatch):
    monkeypatch.setattr(disk_cache, "_can_write", lambda place: False)
    disk_cache.folder.cache_clear()
    assert disk_cache.folder() is None
    assert not disk_cache.is_complete()
    disk_cache.mark_complete()
    with disk_cache.locked():
        pass


def test_a_complete_folder_may_be_read_only(empty, monkeypatch):
    (kernel := empty / "dropout._drop.kernel").touch()
    disk_cache.mark_complete()
    monkeypatch.setattr(disk_cache, "_can_write", lambda place: False)
    disk_cache.folder.cache_clear()
    assert disk_cache.folder() == empty
    assert disk_cache.is_complete()
    kernel.unlink()
    disk_cache.folder.cache_clear()
    assert disk_cache.folder() is None


def test_the_folder_is_next_to_the_sources_or_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert disk_cache.folder.__wrapped__() == KERNELS / "__pycache__"
    monkeypatch.setattr(disk_cache, "_mark", lambda: "none")
    monkeypatch.setattr(disk_cache, "_can_write", lambda place: Path(place).is_relative_to(tmp_path))
    assert disk_cache.folder.__wrapped__().parent == tmp_path


def test_a_user_without_a_home_has_no_cache_of_their_own(monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setattr(disk_cache, "_can_write", lambda place: False)
    monkeypatch.setattr(disk_cache, "_has_files", lambda mark: False)  # neither has the package's folder
    assert disk_cache.folder.__wrapped__() is None


def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    """A user without permission to search a folder gets an error for each question about its files."""

    def refuse(path, *args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "closed"))
    for name in ("stat", "mkdir"):
        monkeypatch.setattr(f"os.{name}", refuse)
    monkeypatch.setattr("os.access", lambda *arguments: False)
    assert disk_cache.folder.__wrapped__() is None
