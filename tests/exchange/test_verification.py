"""Checksums of bundles, exported folders and packages."""

from __future__ import annotations

import zipfile

import pytest

from allyouneed import UserError
from allyouneed.exchange.verification import verify_checksums
from allyouneed.files import write_folder


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "translate-aa_bb.argosmodel"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("aa_bb/metadata.json", "{}")
        archive.writestr("aa_bb/model/model.bin", "many numbers")
    return path


def test_a_folder_a_run_and_a_package(tmp_path, package):
    write_folder(tmp_path / "run" / "bundle", {"weights": b"1", "README.md": "prose"})
    expected = f"{tmp_path}/run/bundle: 1 files match their checksums"
    assert verify_checksums(tmp_path / "run") == verify_checksums(tmp_path / "run" / "bundle") == expected
    (tmp_path / "run" / "bundle" / "README.md").write_text("other prose")
    assert verify_checksums(tmp_path / "run").endswith("1 files match their checksums")
    assert verify_checksums(package) == f"{package}: 2 files match their checksums"


def test_no_checksums(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"no manifest\.json found"):
            verify_checksums(path)


@pytest.mark.parametrize("damage", ["text", "cut", "changed", "password"])
def test_a_damaged_package(damage, package):
    content = bytearray(package.read_bytes())
    if damage == "text":
        content = bytearray(b"text")
    elif damage == "cut":
        del content[-30:]
    elif damage == "changed":
        content[content.index(b"many")] ^= 1
    else:  # the encryption flag, which each entry has twice: in its header and in the directory
        for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = -1
            while (at := content.find(header, at + 1)) >= 0:
                content[at + offset] |= 1
    package.write_bytes(content)
    with pytest.raises(UserError, match=f"{package.name}: .*(Download|without a password)"):
        verify_checksums(package)
