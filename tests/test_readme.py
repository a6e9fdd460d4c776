"""What the front page shows works: its Python runs, its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from allyouneed.cli import app
from allyouneed.terminal import spread

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "README.ko.md")


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


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
    commands = re.findall(r"^(?:.*\| )?allyouneed (.+)$", "\n".join(blocks(page, "")), flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        verb, *arguments = shlex.split(command)
        parser = get_command(app).commands[verb]
        if verb == "paper":
            verb, *arguments = arguments
            parser = parser.commands[verb]
        context = parser.make_context(verb, spread(arguments), resilient_parsing=True)
        options = {option for parameter in parser.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options
        assert context.info_name == verb


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link
