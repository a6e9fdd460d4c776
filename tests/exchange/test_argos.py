"""The package, unpacked as Argos does it, and with Argos Translate if it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile

import pytest

from allyouneed import Translator, UserError, exchange
from tests.compat import POST_NORM
from tests.conftest import toy_pairs

pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
TEXTS = [source for source, _ in toy_pairs(20, seed=3)]


@pytest.fixture(scope="module")
def translator():
    return Translator.load(POST_NORM)


@pytest.fixture(scope="module")
def package(translator, tmp_path_factory):
    return exchange.export_argos(translator.bundle, tmp_path_factory.mktemp("argos") / "out")


@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_are_identical(beam_size, translator, package):
    translated = exchange.argos_translator(package.parent, translator.bundle)(TEXTS, beam_size)
    assert translated == [
        result.tokens for result in translator.translate(TEXTS, beam_size=beam_size, length_penalty=0.0)
    ]


def test_files_of_the_package(package):
    assert package.name == "translate-aa_bb.argosmodel"
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
        metadata = json.loads(archive.read("aa_bb/metadata.json"))
    assert {f"aa_bb/{name}" for name in ("metadata.json", "sentencepiece.model", "model/model.bin")} <= names
    assert {name.split("/")[0] for name in names} == {"aa_bb"}
    assert (metadata["from_code"], metadata["to_code"]) == ("aa", "bb")


def test_export_is_reproducible(translator, package, tmp_path):
    again = exchange.export_argos(translator.bundle, tmp_path / "again")
    assert again.read_bytes() == package.read_bytes()


def test_a_changed_byte_is_reported(package, tmp_path):
    assert "files match their checksums" in exchange.verify_checksums(package)
    content = bytearray(package.read_bytes())
    with zipfile.ZipFile(package) as archive:
        offset = archive.getinfo("aa_bb/model/model.bin").header_offset
    content[offset + 1000] ^= 1
    (tmp_path / package.name).write_bytes(content)
    with pytest.raises(UserError, match=r"model\.bin|not a package"):
        exchange.verify_checksums(tmp_path / package.name)


ARGOS = """
import sys
import argostranslate.package, argostranslate.translate as argos
argostranslate.package.install_from_path(sys.argv[1])
[source] = [language for language in argos.get_installed_languages() if language.code == "aa"]
[target] = [language for language in argos.get_installed_languages() if language.code == "bb"]
translation = source.get_translation(target)
while not hasattr(translation, "sentencizer"):
    translation = translation.underlying
class NoSplitter:  # Argos would download a sentence splitter
    def split_sentences(self, text):
        return [text]
translation.sentencizer = NoSplitter()
for line in sys.stdin.read().splitlines():
    print("translated:", translation.translate(line))
"""


@pytest.mark.skipif(importlib.util.find_spec("argostranslate") is None, reason="argostranslate is not installed")
def test_argos_translate(translator, package, tmp_path):
    folders = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "ARGOS_PACKAGES_DIR": str(tmp_path / "packages")}
    process = subprocess.run(
        [sys.executable, "-c", ARGOS, str(package)],
        input="\n".join(TEXTS),
        env={**os.environ, **folders},
        capture_output=True,
        text=True,
    )
    translated = [
        line.removeprefix("translated: ") for line in process.stdout.splitlines() if line.startswith("translated: ")
    ]
    assert translated == [result.text for result in translator.translate(TEXTS, beam_size=4)], process.stderr
