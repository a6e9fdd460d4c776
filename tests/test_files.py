import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from allyouneed.errors import UserError
from allyouneed.files import (
    check_folder,
    check_new_folder,
    check_output,
    last_version,
    new_folder,
    read_tensors,
    recover_all,
    recover_folder,
    sha256,
    tensor_bytes,
    write_file,
    write_folder,
)
from allyouneed.json_text import to_json
from allyouneed.untrusted import read_typed


def test_a_folder_is_replaced_atomically(tmp_path):
    folder = tmp_path / "f"
    write_folder(folder, {"a": b"1", "b": "zwei"})
    write_folder(folder, {"a": b"3"})
    assert sorted(path.name for path in folder.iterdir()) == ["a", "manifest.json"]
    assert os.listdir(tmp_path) == ["f"]
    check_folder(folder, ["a"], "")


def test_a_file_name_that_is_not_utf8_survives_json(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_file(tmp_path / "a.json", to_json({"file": name}))
    assert read_typed(tmp_path / "a.json", dict[str, Any], "Do this.", any_text=True) == {"file": name}


@pytest.mark.parametrize("damage", ["truncate", "change", "delete", "manifest"])
def test_damage_is_reported_with_the_file(tmp_path, damage):
    folder = tmp_path / "f"
    write_folder(folder, {"weights": b"12345678"})
    path = folder / "weights"
    if damage == "truncate":
        path.write_bytes(b"1234")
    elif damage == "change":
        path.write_bytes(b"12345679")
    elif damage == "delete":
        path.unlink()
    else:
        (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"(weights|manifest\.json).*Do this\."):
        check_folder(folder, ["weights"], "Do this.")


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "f"
    write_folder(folder, {"a": b"old"})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"no space left on device.*intact"):
        write_folder(folder, {"a": b"new"})
    with pytest.raises(UserError, match="no space left"):
        write_file(tmp_path / "x", "text")
    assert (folder / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_an_interrupted_file_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "x", "text")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_is_recovered(tmp_path):
    folder = tmp_path / "f"
    write_folder(folder, {"a": b"old"})
    folder.rename(tmp_path / "f.replaced")  # killed between the two renames
    (tmp_path / "f.unfinished").mkdir()
    recover_folder(folder)
    assert os.listdir(tmp_path) == ["f"]
    check_folder(folder, ["a"], "")


def test_a_new_folder_gets_a_manifest(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    with new_folder(folder) as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "a").write_text("1")
    check_folder(folder, ["below/a"], "")
    with pytest.raises(UserError, match="new already exists"), new_folder(folder):
        pass
    with pytest.raises(UserError, match="cannot write"), new_folder(folder / "below" / "a" / "b"):
        pass
    with suppress(KeyboardInterrupt), new_folder(tmp_path / "other") as temporary:
        (temporary / "half").write_text("1")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["new"]


def test_a_new_folder_may_exist_with_the_same_files_only(tmp_path):
    folder = tmp_path / "f"
    write_folder(folder, {"a": b"1", "README.md": "prose"}, replace=False)
    (folder / "mine").write_text("precious")
    (folder / "README.md").write_text("edited")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_folder(folder, {"a": b"1", "README.md": "prose"}, replace=False)
    for contents in ({"a": b"2"}, {"a": b"1", "b": b"1"}, {}):
        with pytest.raises(UserError, match="f already exists"):
            write_folder(folder, contents, replace=False)
    with pytest.raises(UserError, match="f already exists"):
        check_new_folder(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / "a").write_bytes(b"3")
    with pytest.raises(UserError, match="f already exists"):
        write_folder(folder, {"a": b"1"}, replace=False)
    assert (folder / "a").read_bytes() == b"3"
    assert os.listdir(tmp_path) == ["f"]


def test_a_leftover_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / "f.unfinished" / "below").mkdir(parents=True)

    def fail(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("rmdir", "unlink"):
        monkeypatch.setattr(os, name, fail)
    with pytest.raises(UserError, match=r"cannot write .*f: read-only file system"):
        write_folder(tmp_path / "f", {"a": b"1"})


def test_the_last_version_of_a_folder(tmp_path, monkeypatch):
    folder, replaced = tmp_path / "f", tmp_path / "f.replaced"
    assert last_version(folder) == folder
    replaced.mkdir()
    assert last_version(folder) == replaced
    folder.mkdir()
    assert last_version(folder) == folder
    monkeypatch.chdir(tmp_path)
    assert last_version(Path()) == Path()


def test_the_current_folder_is_refused_as_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (".", ".."):
        with pytest.raises(UserError, match="Choose a new or empty folder"), new_folder(Path(folder)):
            pass


def test_all_interrupted_writes_of_a_folder_are_recovered(tmp_path):
    for name in ("step-1", "step-1.unfinished", "step-2.replaced", "step.3.replaced", "step.3"):
        (tmp_path / name).mkdir()
    recover_all(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["step-1", "step-2", "step.3"]


def test_an_output_needs_a_folder_and_differs_from_the_inputs(tmp_path):
    text, link = tmp_path / "text", tmp_path / "link"
    text.write_text("precious")
    link.symlink_to(text)
    check_output(tmp_path / "new", text)
    check_output(text, tmp_path / "missing")
    for output in (tmp_path, tmp_path / "missing" / "new"):
        with pytest.raises(UserError, match="cannot write"):
            check_output(output)
    with pytest.raises(UserError, match="same file"):
        check_output(link, tmp_path / "new", text)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_in_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        check_output(tmp_path / "new")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_output(pipe)
        write_file(pipe, "page")
        assert os.read(reader, 10) == b"page"
        assert stat.S_ISFIFO(pipe.stat().st_mode)
    finally:
        os.close(reader)


def test_tensors_round_trip(tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(tensor_bytes({"a": torch.arange(3.0)}))
    assert read_tensors(path)["a"].tolist() == [0, 1, 2]
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"b": 1}', "\xff"])
def test_invalid_json_is_refused(tmp_path, content):
    path = tmp_path / "facts.json"
    path.write_text('{"a": 1}')
    assert read_typed(path, dict[Literal["a"], int], "Do this.") == {"a": 1}
    path.write_text(content, encoding="latin-1")
    with pytest.raises(
        UserError, match=r"facts\.json: (damaged, or not the expected JSON \(.+\)|(content|b.*) = .+)\. Do this\."
    ):
        read_typed(path, dict[Literal["a"], int], "Do this.")


def test_a_read_error_without_a_system_message_is_reported(tmp_path, monkeypatch):
    def broken(path, flags):
        raise OSError("it is broken")

    monkeypatch.setattr("os.open", broken)
    with pytest.raises(UserError, match=r"weights: cannot be read \(it is broken\)\. Its content may be intact"):
        read_tensors(tmp_path / "weights")


def test_a_folder_has_no_checksum(tmp_path):
    with pytest.raises(UserError, match=r"missing or not readable \(is a folder\)\. "):
        sha256(tmp_path)
