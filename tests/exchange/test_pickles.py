"""Checkpoints are read without executing anything in them."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from allyouneed.errors import UserError
from allyouneed.exchange.reading.pickles import StandIn, read_checkpoint, read_weights


class Hostile:
    """Creates a file when it is unpickled normally."""

    def __init__(self, path: Path, function=os.system):
        self.call = function, (f"touch {path}",) if function is os.system else (str(path),)

    def __reduce__(self):
        return self.call


class Other:
    """A type of another program."""

    def __init__(self, value: int):
        self.value = value


def test_tensors_and_settings_are_read(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    content = {
        "args": argparse.Namespace(arch="transformer", sizes=[1, 2], nested=argparse.Namespace(deep=True)),
        "model": collections.OrderedDict(
            [("a", shared), ("b", shared.T), ("half", torch.ones(2, dtype=torch.float16)), ("scalar", torch.tensor(3))]
        ),
        "counts": collections.defaultdict(int, {"x": 1}),
        "other": Other(7),
        "step": 2**40,
        "bytes": b"abc\xff",
    }
    for current in (True, False):
        path = tmp_path / f"{current}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=current)
        found = read_checkpoint(path, ("argparse.Namespace", "tests.exchange.*", "builtins.int"))
        assert isinstance(found["args"], StandIn)
        assert found["args"].kind == "argparse.Namespace"
        assert found["args"].attributes["sizes"] == [1, 2]
        assert found["args"].attributes["nested"].attributes == {"deep": True}
        assert found["other"].attributes == {"value": 7}
        assert found["counts"] == {"x": 1}
        assert (found["step"], found["bytes"]) == (2**40, b"abc\xff")
        weights = read_weights(path, found["model"])
        assert weights.keys() == content["model"].keys()
        assert all(torch.equal(weights[name], tensor) for name, tensor in content["model"].items())


@pytest.mark.parametrize("current", [True, False])
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, io.open])
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path, current, function):
    path, victim = tmp_path / "model.pt", tmp_path / "victim"
    torch.save({"model": {}, "x": Hostile(victim, function)}, path, _use_new_zipfile_serialization=current)
    with pytest.raises(UserError, match="could execute code; nothing was loaded"):
        read_checkpoint(path)
    assert not victim.exists()


def test_types_that_are_not_allowed_are_named(tmp_path):
    torch.save({"x": Other(1)}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"contains 'tests\.exchange\.test_pickles\.Other'"):
        read_checkpoint(tmp_path / "model.pt")


def write(path: Path, content: bytes, storages: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", b"little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
    return path


def tensor(count: int, size: bytes, stride: bytes, offset: int = 0) -> bytes:
    """The instructions for a tensor of a storage of `count` numbers."""
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    end = b"\x89ccollections\nOrderedDict\n)RtR."
    storage = b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number(count) + b"tQ"
    return start + storage + number(offset) + size + stride + end


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tensor(10**9, numbers(2), numbers(1)), "more numbers than the file"),
        (tensor(4, numbers(10**6, 10**6), numbers(0, 0)), "repeated numbers"),
        (tensor(4, numbers(2, 2), numbers(100, 1)), "numbers outside"),
        (tensor(4, numbers(2), numbers(1), 3), "numbers outside"),
        (tensor(4, numbers(2), numbers(1), -1), "numbers outside"),
        (b"\x80\x02cbuiltins\nbytearray\nI1000000000000\n\x85R.", "an allocation"),
        (b"\x80\x02ctorch.storage\nUntypedStorage\nI1000000000000\n\x85R.", "an allocation"),
        (b"\x80\x02}" + b")" + b"\x85" * 20_000 + b"Ns.", "a key that is nested too deeply to hash"),
        (b"\x80\x02ccollections\nOrderedDict\n](" + b")" + b"\x85" * 20_000 + b"N\x86e\x85R.", "the same"),
        (b"\x80\x02c_codecs\nencode\nc_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R\x85R.", "a codec"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "a large index"),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "a truncated text"),
        (b"\x80\x02(((", "no end"),
        (b"", "nothing"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system\x93.", "another way to name a type"),
    ],
)
def test_damaged_files_are_refused_at_once(tmp_path, content, why):
    path = write(tmp_path / "model.pt", content, {"0": bytes(16)})
    with pytest.raises(UserError, match=r"model\.pt"):
        read_checkpoint(path)


def test_sizes_that_agree_are_read(tmp_path):
    found = read_checkpoint(write(tmp_path / "model.pt", tensor(4, numbers(2, 2), numbers(1, 2)), {"0": bytes(16)}))
    assert found.shape == (2, 2)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    for content in (
        b"",
        b"x" * 100,
        b"PK\x03\x04 nonsense",
        pickle.dumps([1]),
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.pt"):
            read_checkpoint(path)
    with pytest.raises(UserError, match="compressed"):
        read_checkpoint(write(path, b"\x80\x02N.", {"0": bytes(2**20)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(UserError, match=r"none\.pt: missing or not readable"):
        read_checkpoint(tmp_path / "none.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(UserError, match="TorchScript"):
        read_checkpoint(path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"model": {"a": torch.ones(3)}}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_checkpoint(path)


def test_weights_are_dense_tensors_by_name(tmp_path):
    for wrong in (None, {}, [1], {"a": 1}, {1: torch.ones(1)}, {"a": torch.ones(2).to_sparse()}):
        with pytest.raises(UserError):
            read_weights(tmp_path, wrong)
