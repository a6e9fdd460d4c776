"""What the pages on the paper name exists: files, names in them, commands, and places in the pages themselves."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from allyouneed.paper.commands import app

ROOT = Path(__file__).parents[1]
PAGES = ("docs/paper.md", "docs/paper.ko.md")
REFERENCE = re.compile(r"`([\w./-]+\.(?:py|toml))(?:: ([\w.]+))?`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def references(page: str) -> set[tuple[str, str]]:
    """(file, name) of all that a page refers to; no name where it means the whole file."""
    return set(REFERENCE.findall(text_of(page)))


def place_of(file: str) -> Path:
    """Files are named from the package on, tests from the repository on."""
    return ROOT / file if file.startswith("tests/") else ROOT / "src" / "allyouneed" / file


@cache
def names_in(path: Path) -> set[str]:
    """Functions, classes and constants of a module; methods, fields and `self.` attributes of its classes, dotted."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names |= defined_by(node)
        if isinstance(node, ast.ClassDef):
            members = set().union(*map(defined_by, node.body))
            assigned = (child for child in ast.walk(node) if isinstance(child, ast.Attribute))
            members |= {child.attr for child in assigned if isinstance(child.ctx, ast.Store)}
            names |= {f"{node.name}.{member}" for member in members}
    return names


def defined_by(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_exists(page):
    assert len(references(page)) > 100
    for file, name in sorted(references(page)):
        assert place_of(file).is_file(), f"{page}: {file}"
        assert not name or name in names_in(place_of(file)), f"{page}: {file}: {name}"


def test_both_pages_name_the_same():
    assert references(PAGES[0]) == references(PAGES[1])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_named(page):
    named = set(re.findall(r"`allyouneed paper (\w+)", text_of(page)))
    assert named == {command.callback.__name__ for command in app.registered_commands}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = text_of(page)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_even(page):
    """Every row of a table has as many cells as its head."""
    width = None
    for line in text_of(page).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert cells is None or width is None or cells == width, line
        width = cells
