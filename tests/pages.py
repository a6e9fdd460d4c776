"""What a page of Markdown shows: its blocks of code, and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.main import get_command

from allyouneed.cli import app
from allyouneed.terminal import spread

ROOT = Path(__file__).parents[1]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if "results" not in path.parts)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of that language, "" for none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


def commands(page: str) -> list[str]:
    """The arguments of `allyouneed` in blocks without a language: after a pipe too, or as torchrun or podman has it."""
    called = r"^(?:.*\| |[A-Z_]+=\S+ |torchrun .* -m |podman run .* )?allyouneed (.+)$"
    return re.findall(called, "\n".join(blocks(page, "")), flags=re.MULTILINE)


def check_command(command: str) -> None:
    """Fails unless the command line would take it: verb, options, their values, and all that has to be given."""
    verb, *arguments = shlex.split(command)
    parser = get_command(app).commands[verb]
    if verb == "paper":
        verb, *arguments = arguments
        parser = parser.commands[verb]
    context = parser.make_context(verb, spread(arguments))
    assert context.info_name == verb
