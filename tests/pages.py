"""Code blocks and commands of a Markdown page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.main import get_command

from allyouneed.cli import app
from allyouneed.terminal import expand_options

ROOT = Path(__file__).parents[1]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if "results" not in path.parts)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language ("" for blocks without one)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


def commands(page: str) -> list[str]:
    """Return the arguments of `allyouneed` in blocks without a language, also after a pipe, torchrun or podman."""
    pattern = r"^(?:.*\| |[A-Z_]+=\S+ |torchrun .* -m |podman run .* )?allyouneed (.+)$"
    return re.findall(pattern, "\n".join(blocks(page, "")), flags=re.MULTILINE)


def check_command(command: str) -> None:
    """Fail unless the command line accepts the command: name, options, values and required arguments."""
    name, *arguments = shlex.split(command)
    parser = get_command(app).commands[name]
    if name == "paper":
        name, *arguments = arguments
        parser = parser.commands[name]
    context = parser.make_context(name, expand_options([name, *arguments])[1:])
    assert context.info_name == name
