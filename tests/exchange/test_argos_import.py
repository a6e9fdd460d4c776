"""Argos packages: those of this package's export, those laid out as published ones are, and damaged ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from allyouneed import UserError, exchange
from allyouneed.bundle import load_bundle, weights_of
from allyouneed.exchange.argos.importer import read_argos
from allyouneed.exchange.importer import import_bundle
from tests.exchange.ctranslate2_models import write_model
from tests.exchange.models import random_bundle

pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("argos") / "model"
    write_model(folder, "int8", table="paper", pre_norm=True)
    return folder


METADATA = {"package_version": "1.9", "argos_version": "1.9.0", "from_code": "en", "to_code": "pb"}


def package(path: Path, model: Path, root: str = "en_pb/", metadata: object = METADATA, **more: bytes) -> Path:
    """A package with what published ones have besides the model: a README and models of Stanza."""
    contents = {f"model/{each.name}": each.read_bytes() for each in model.iterdir() if each.suffix != ".model"}
    contents["sentencepiece.model"] = (model / "sentencepiece.model").read_bytes()
    contents["metadata.json"] = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    contents |= {
        "README.md": b"---\nlicense: cc0-1.0\n---\n# en-pb",
        "stanza/en/tokenize/ewt.pt": b"not read" * 100,
        **more,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(root.rstrip("/") or "model")
        for name, content in contents.items():
            if content is not None:
                archive.writestr(root + name, content)
    return path


def test_own_packages_come_back_bit_identical(tmp_path):
    bundle = random_bundle(norm="pre")
    path = exchange.export_argos(bundle, tmp_path / "argos")
    import_bundle("argos", [path], tmp_path / "run")
    again = load_bundle(tmp_path / "run")
    before, after = weights_of(bundle.model), weights_of(again.model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.languages == ("de", "en")
    assert again.tokenizer.encode("a b c") == bundle.tokenizer.encode("a b c")


@pytest.mark.parametrize("root", ["en_pb/", "translate-en_pb-1_9/", ""])
def test_published_layouts(root, model, tmp_path):
    path = package(tmp_path / "translate-en_pb-1_9.argosmodel", model, root)
    exchange.import_bundle("argos", [path], tmp_path / "run")
    bundle = load_bundle(tmp_path / "run")
    assert bundle.languages == ("en", "pt-BR")
    assert bundle.notes["imported from"] == path.name
    assert list(bundle.notes["SHA-256"]) == [path.name]
    assert bundle.notes["licence"] == "cc0-1.0 (README.md)"


def test_given_languages_take_precedence(model, tmp_path):
    path = package(tmp_path / "a.argosmodel", model)
    assert read_argos([path], ("en", "pt-BR")).languages == ("en", "pt-BR")


def test_bpe_with_the_rules_of_argos(model, tmp_path):
    """The tokens are those of `BPETokenizer` in argostranslate/tokenizer.py, made here by its own libraries."""
    pytest.importorskip("sacremoses", reason="the package sacremoses is not installed")
    import sacremoses

    codes = b"#version: 0.2\nt h\nth e</w>\ni t</w>\n"
    path = package(tmp_path / "a.argosmodel", model, **{"sentencepiece.model": None, "bpe.model": codes})
    tokenizer = read_argos([path]).tokenizer
    text = "\u00abIt's the\u00bb well-known\u2026 it"
    normalized = sacremoses.MosesPunctNormalizer("en").normalize(text)
    words = sacremoses.MosesTokenizer("en").tokenize(normalized)
    joined = "".join(
        token.removesuffix("@@") + ("" if token.endswith("@@") else " ") for token in split(tokenizer, text)
    )
    assert joined.split() == words
    assert split(tokenizer, "the it") == ["the", "it"]
    assert tokenizer.target.segmenter.join(["th@@", "e", "&quot;", "it", "&quot;", "."]) == 'the "it".'


def split(tokenizer, text: str) -> list[str]:
    return tokenizer.segmenter.split(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": b"["}, "not valid JSON"),
        ({"metadata": b"[" * 100_000}, "not valid JSON"),
        ({"metadata": b"[]"}, "should be a valid dictionary"),
        ({"metadata": {**METADATA, "type": "sbd"}}, "type = 'sbd'"),
        ({"metadata": {**METADATA, "from_code": None}}, "names no languages"),
        ({"metadata": {**METADATA, "from_code": 3}}, "from_code = 3: input should be a valid string"),
        ({"metadata": {**METADATA, "to_code": "a" * 101}}, "101 characters, which is no language"),
        ({"metadata": {**METADATA, "package_version": []}}, "package_version.* = "),
        ({"metadata.json": None}, "has 0 files metadata.json"),
        ({"sentencepiece.model": None}, "has neither sentencepiece.model nor bpe.model"),
        ({"sentencepiece.model": b"nothing"}, "neither a SentencePiece model nor"),
        ({"model/model.bin": None}, "model.bin: missing"),
        ({"model/model.bin": b"\6\0\0\0"}, "damaged at byte 4"),
        ({"../outside": b""}, "a name outside the archive"),
    ],
)
def test_damaged_packages(changes, message, model, tmp_path):
    path = package(tmp_path / "a.argosmodel", model, **({"root": ""} if "../outside" in changes else {}), **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_argos([path])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_package(tmp_path):
    path = tmp_path / "a.argosmodel"
    path.write_bytes(b"not a ZIP file")
    with pytest.raises(UserError, match="damaged, incomplete or of another type"):
        read_argos([path])
    with pytest.raises(UserError, match="takes one package"):
        read_argos([tmp_path])
