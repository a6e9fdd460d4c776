"""Compiled kernels on disk: every damage is found and repaired, and nothing outdated is used."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels import disk_cache, launch, precompile, storage
from allyouneed.kernels.records import Floats

NAME = f"{__name__}.double"
WRITE = Path.write_bytes


def double(part, out: Floats):
    out[part] = 2 * out[part]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of compiled kernels."""
    monkeypatch.setattr(disk_cache, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def compiled(monkeypatch):
    """A list that grows with each compilation."""
    found, compile_uncached = [], launch.CFunc._compile_uncached
    monkeypatch.setattr(launch.CFunc, "_compile_uncached", lambda self: found.append(1) or compile_uncached(self))
    return found


def another_process() -> launch._Kernel:
    """Make the kernel as if it were new, run it, and return it."""
    run = launch.kernel(double)
    out = torch.ones(5)
    run(5, out)
    assert out.eq(2).all()
    return launch._kernels[NAME]


def test_the_next_process_loads_the_kernel(folder, compiled):
    assert another_process().code.is_stored
    [file] = folder.iterdir()
    before = file.stat()
    assert another_process().code.is_stored
    assert len(compiled) == 1
    assert file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "zeros", "removed"])
def test_a_damaged_file_is_replaced_without_a_word(folder, compiled, recwarn, damage):
    another_process()
    [file] = folder.iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    damaged = {"truncated": content[:-1], "empty": b"", "one bit": flipped, "zeros": bytes(len(content))}
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(damaged[damage])
    for _ in range(2):
        assert another_process().code.is_stored
    assert len(compiled) == 2
    assert not recwarn.list


@pytest.mark.parametrize("changed", ["sources", "numba", "target"])
def test_code_of_other_sources_releases_and_targets_is_not_used(folder, compiled, monkeypatch, changed):
    another_process()
    if changed == "sources":
        monkeypatch.setattr(storage.disk_cache, "sources_hash", lambda path: "other")
    elif changed == "numba":
        monkeypatch.setattr(storage, "version", lambda name: "0.1")
    else:
        monkeypatch.setattr(
            launch.CFunc._targetdescr.target_context.codegen(), "magic_tuple", lambda: ("other", "", "")
        )
    another_process()
    assert len(compiled) == 2
    assert len(list(folder.iterdir())) == (2 if changed == "target" else 1)


@pytest.fixture
def full(folder, monkeypatch):
    """A disk without space."""

    def run_out_of_space(path, data):
        WRITE(path, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", run_out_of_space)
    return folder


def test_a_full_disk_is_reported_once_and_kernels_work(full, compiled):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            assert not another_process().code.is_stored
    assert [str(each.message) for each in caught] == [
        f"compiled kernels cannot be stored in {full} (No space left on device), so every start compiles them. Free "
        "disk space, or set NUMBA_CACHE_DIR to another folder."
    ]
    assert len(compiled) == 2
    assert not list(full.iterdir())


@pytest.mark.filterwarnings("ignore:compiled kernels cannot be stored")
def test_a_folder_is_not_complete_without_its_kernels(full, monkeypatch):
    another_process()
    assert not precompile.mark_complete([NAME])
    assert not disk_cache.is_complete()
    monkeypatch.setattr(Path, "write_bytes", WRITE)
    another_process()
    assert precompile.mark_complete([NAME])
    assert disk_cache.is_complete()
    [file] = full.glob(f"*{disk_cache.ENDING}")
    file.unlink()
    assert not disk_cache.is_complete()


def tripling():
    def scaled(part, out: Floats):
        out[part] = 3 * out[part]

    return scaled


def test_kernels_of_the_same_name_have_files_of_their_own(folder):
    """One that has the other's file would run the other's code."""

    def scaled(part, out: Floats):
        out[part] = 2 * out[part]

    values = torch.ones(2)
    for body in (scaled, tripling()):
        launch.kernel(body)(2, values)
    assert values.tolist() == [6.0, 6.0]
    assert len(list(folder.iterdir())) == 2
