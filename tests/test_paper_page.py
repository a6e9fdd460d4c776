"""docs/paper.md and its translation: files, names, commands and anchors exist, and tables are well-formed."""

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
    """Return the (file, name) pairs that a page refers to; the name is empty for a whole file."""
    return set(REFERENCE.findall(text_of(page)))


def path_of(file: str) -> Path:
    """Resolve a path relative to the package, or for tests to the repository."""
    return ROOT / file if file.startswith("tests/") else ROOT / "src" / "allyouneed" / file


@cache
def names_in(path: Path) -> set[str]:
    """Return functions, classes and constants of a module, and `Class.member` for methods, fields and attributes."""
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
def test_names_exist(page):
    assert len(references(page)) > 100
    for file, name in sorted(references(page)):
        assert path_of(file).is_file(), f"{page}: {file}"
        assert not name or name in names_in(path_of(file)), f"{page}: {file}: {name}"


def test_both_pages_have_the_same_names():
    assert references(PAGES[0]) == references(PAGES[1])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_named(page):
    named = set(re.findall(r"`allyouneed paper (\w+)", text_of(page)))
    assert named == {command.callback.__name__ for command in app.registered_commands}


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    text = text_of(page)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_table_rows_have_as_many_cells_as_their_header(page):
    width = None
    for line in text_of(page).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert cells is None or width is None or cells == width, line
        width = cells
