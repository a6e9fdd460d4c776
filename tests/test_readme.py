"""The READMEs: their Python code runs, their commands and options exist, their links resolve."""

from __future__ import annotations

import re

import pytest

from tests.pages import ROOT, blocks, check_command, commands, read

PAGES = ("README.md", "README.ko.md")


def block_text(page: str) -> str:
    return "".join(blocks(page, "python"))


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(page, toy_run):
    namespace: dict = {"allyouneed": __import__("allyouneed")}
    for block in blocks(page, "python"):
        exec(block.replace('"RUN"', repr(str(toy_run))), namespace)
    assert namespace["translation"].source in block_text(page)
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
