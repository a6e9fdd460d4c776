"""The READMEs: their Python code runs, their commands and options exist, their links resolve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import HANGUL, TOY, toy_pairs
from tests.pages import ROOT, blocks, check_command, commands, read

PAGES = ("README.md", "README.ko.md")


def block_text(page: str) -> str:
    return "".join(blocks(page, "python"))


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(page, toy_run, tmp_path, monkeypatch):
    """Run all blocks; training is shortened to a few steps of a small model."""
    monkeypatch.chdir(tmp_path)
    for name, pairs in (("train", toy_pairs(300)), ("test", toy_pairs(20))):
        source, target = ("".join(f"{pair[side]}\n" for pair in pairs) for side in (0, 1))
        sides = {"de": source, "ko": source.translate(HANGUL), "en": target}
        for suffix, text in sides.items():
            (tmp_path / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    namespace: dict = {}
    for block in blocks(page, "python"):
        block = block.replace("minutes=30", f"recipe='tiny', settings={[*TOY, 'training.steps=3']}")
        exec(block.replace('"RUN"', repr(str(toy_run))), namespace)
    assert namespace["translation"].source in block_text(page)
    assert len(namespace["pairs"]) == 20
    assert namespace["result"].bundle == Path("RUN2", "bundle")
    assert namespace["attention"].cross.ndim == 4


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    assert len(commands(page)) >= 4
    for command in commands(page):
        check_command(command)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", read(page)):
        assert (ROOT / link).exists(), link
