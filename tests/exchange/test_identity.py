"""Recognition of models by their contents: every system, and what only looks like one."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from allyouneed.errors import UserError
from allyouneed.exchange.identity import identify
from tests.compat import POST_NORM


def write(folder: Path, **files: bytes | str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def packed(folder: Path, **files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(write(folder, **files), "wmt")
    return buffer.getvalue()


def checkpoint(content: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


WEIGHTS = {"encoder.layers.0.fc1.weight": torch.zeros(2, 2)}
FAIRSEQ = {"args": None, "model": WEIGHTS, "extra_state": {}, "optimizer_history": []}
OPENNMT = {"model": WEIGHTS, "generator": {}, "vocab": {}, "opt": None}
JOEY = {"steps": 1, "model_state": WEIGHTS, "optimizer_state": {}}
CTRANSLATE2 = struct.pack("<IH", 6, 16) + b"TransformerSpec\0"


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("content", "system"), [(FAIRSEQ, "fairseq"), (OPENNMT, "opennmt-py"), (JOEY, "joeynmt"), ({"a": 1}, "")]
)
def test_checkpoints(content, system, legacy, tmp_path):
    write(tmp_path, model__pt=checkpoint(content, legacy))
    assert identify(tmp_path / "model.pt").system == system
    model = tmp_path / "model.pt" if system == "opennmt-py" else tmp_path
    assert identify(tmp_path) == identify(tmp_path / "model.pt")._replace(model=model)


def test_folders(tmp_path):
    for number, (files, system) in enumerate(
        [
            ({"config__json": json.dumps({"model_type": "marian"}), "model__safetensors": b""}, "marian"),
            ({"config__json": json.dumps({"model_type": "bart"}), "model__safetensors": b""}, ""),
            ({"model__npz": b"", "decoder__yml": ""}, "marian"),
            ({"model__intgemm__alphas__bin": struct.pack("<QQ", 1, 40), "vocab__spm": b""}, "marian"),
            ({"model__bin": CTRANSLATE2, "shared_vocabulary__json": "[]"}, "ctranslate2"),
            ({"model__bin": CTRANSLATE2, "config__json": "{}", "source_vocabulary__txt": ""}, "ctranslate2"),
            ({"config": "", "version": "3.1.34", "params__best": b""}, "sockeye"),
            ({"config__json": "{}", "model__00__safetensors": b"", "vocab__json": "{}"}, "eole"),
            ({"config__yaml": "", "best__ckpt": b""}, "joeynmt"),
            ({"config__yaml": "", "best__ckpt": b"", "logits__npz": zipped(a__npy=b"")}, "joeynmt"),
        ]
    ):
        assert identify(write(tmp_path / str(number), **files)).system == system, files
    assert identify(POST_NORM).system == "allyouneed"


def test_files(tmp_path):
    arrays = io.BytesIO()
    np.savez(arrays, **{"special:model.yml": np.zeros(3, np.int8)})
    write(
        tmp_path,
        model__npz=arrays.getvalue(),
        de_en__argosmodel=zipped(metadata__json=b"{}", **{"model/model__bin": b""}),
        opus__zip=zipped(decoder__yml=b"", model__npz=b""),
        model__intgemm__bin=struct.pack("<QQ", 1, 40),
        weights__safetensors=b"",
        text__txt="Ein Hund rennt.",
        wmt__tar__gz=packed(tmp_path / "wmt", model__pt=b"", dict__de__txt=b""),
    )
    systems = {
        path.name: identify(path).system for path in sorted(tmp_path.iterdir()) if path.suffix not in (".txt", "")
    }
    assert systems == {
        "model.npz": "marian",
        "de_en.argosmodel": "argos",
        "opus.zip": "marian",
        "model.intgemm.bin": "marian",
        "weights.safetensors": "",
        "wmt.tar.gz": "fairseq",
    }
    for name in ("text.txt", "missing"):
        with pytest.raises(UserError, match=name):
            identify(tmp_path / name)


def test_nothing_is_executed_and_nothing_crashes(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    bomb = pickle.dumps({"args": Harmful(), "model": {}}, protocol=2)
    deep = "[" * 100_000
    write(tmp_path / "a", model__pt=bomb)
    assert identify(tmp_path / "a").system == "fairseq"
    assert not (tmp_path / "executed").exists()
    for number, files in enumerate(
        [
            {"config__json": deep},
            {"config__json": "[]", "model__bin": b"\x06"},
            {"model__pt": bomb[:20]},
            {"model__zip": zipped(a=b"x")[:-30]},
            {"model__bin": b""},
            {},
        ]
    ):
        folder = write(tmp_path / f"bad{number}", **files)
        with suppress(UserError):
            assert identify(folder).system in ("", "fairseq")


def test_an_archive_with_a_name_that_is_not_unicode(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("a/é", b"")
    content = (tmp_path / "model.pt").read_bytes().replace("é".encode(), b"\xff\xff")
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pt: not recognised as a model"):
        identify(tmp_path / "model.pt")
