"""What MkDocs cannot do by itself: GitHub's reading of Markdown, links to files outside docs/, `--help`, settings.

A page of docs/ links to `../src/allyouneed/cli.py` as the repository has it. In the site such a file becomes a page
below `repository/`, and so do the files that it links to in turn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_OUTSIDE = "repository/"
_HELP, _SETTINGS = "<!-- the help of every command -->", "<!-- a table of every section -->"
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"\s*(```|~~~)")
_LIST_OR_TABLE = re.compile(r"(?:[-*] |1\. |\|)")
_LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".service": "ini", ".ipynb": "json", ".json": "json"}
_AS_THEY_ARE = (".md", ".png", ".svg")
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what pages link to outside docs/."""
    known = {file.src_uri for file in files}
    waiting = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    while waiting:
        for path in _linked(*waiting.pop()):
            if (uri := _uri_of(path)) in known:
                continue
            known.add(uri)
            if path.suffix in _AS_THEY_ARE[1:]:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
            else:
                content = _page_of(path)
                files.append(File.generated(config, uri, content=content))
                waiting.append((uri, content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    markdown = "\n".join(_prose(_with_blank_lines(markdown.split("\n")), lambda line: _LINK.sub(_in_site(uri), line)))
    for mark, made in ((_HELP, _help), (_SETTINGS, _settings)):
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown


def _linked(uri: str, text: str) -> list[PurePosixPath]:
    """Paths in the repository that a page links to."""
    found: list[PurePosixPath] = []

    def see(line: str) -> str:
        found.extend(path for link in _LINK.finditer(line) if (path := _path_of(uri, link[1])))
        return line

    list(_prose(text.split("\n"), see))
    return found


def _path_of(uri: str, link: str) -> PurePosixPath | None:
    """What a link of the page means in the repository; None where there is no such file."""
    inside = uri.startswith(_OUTSIDE)
    here = PurePosixPath(uri.removeprefix(_OUTSIDE) if inside else f"docs/{uri}").parent
    path = PurePosixPath(os.path.normpath(here / link))
    return path if not path.is_absolute() and path.parts[0] != ".." and (ROOT / path).exists() else None


def _uri_of(path: PurePosixPath) -> str:
    """Where a file or folder of the repository stands in the site."""
    if (ROOT / path).is_dir():
        path /= "README.md" if (ROOT / path / "README.md").exists() else "index.md"
    elif path.suffix not in _AS_THEY_ARE and path.parts[0] != "docs":
        path = path.with_name(f"{path.name}.md")
    return str(path.relative_to("docs")) if path.parts[0] == "docs" else f"{_OUTSIDE}{path}"


def _page_of(path: PurePosixPath) -> str:
    """A page for what stands outside docs/: a folder's README or its list, Markdown as it is, other text as code."""
    place = ROOT / path
    if place.is_dir() and not (place / "README.md").exists():
        entries = sorted(entry for entry in place.iterdir() if not entry.name.startswith((".", "__")))
        listed = (f"[{entry.name}]({entry.name})" if _is_text(entry) else entry.name for entry in entries)
        return "\n".join([f"# {path}", "", *(f"- {entry}" for entry in listed)])
    text = (place / "README.md" if place.is_dir() else place).read_text(encoding="utf-8")
    if place.is_dir() or path.suffix == ".md":
        return text
    return f"{_NOT_SEARCHED}# {path}\n\n~~~~~~{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n~~~~~~\n"


def _is_text(path: Path) -> bool:
    return path.is_file() and b"\0" not in path.read_bytes()[:1000]


def _in_site(uri: str) -> Callable[[re.Match], str]:
    def rewritten(link: re.Match) -> str:
        path = _path_of(uri, link[1])
        return link[0] if path is None else os.path.relpath(_uri_of(path), PurePosixPath(uri).parent) + link[2]

    return rewritten


def _prose(lines: list[str], change: Callable[[str], str]) -> Iterator[str]:
    """The lines, those outside of fenced code changed."""
    fence = None
    for line in lines:
        mark = _FENCE.match(line)
        yield line if fence or mark else change(line)
        if mark and fence in (None, mark[1]):
            fence = None if fence else mark[1]


def _with_blank_lines(lines: list[str]) -> list[str]:
    """A list or a table may follow a paragraph directly on GitHub; Python-Markdown wants a blank line before it."""
    spaced: list[str] = []

    def see(line: str) -> str:
        before = spaced[-1] if spaced else ""
        begins = _LIST_OR_TABLE.match(line)
        return f"\n{line}" if begins and before.strip() and not _goes_on(before, begins[0]) else line

    for line in _prose(lines, see):
        spaced += line.split("\n")
    return spaced


def _goes_on(before: str, begin: str) -> bool:
    """Whether the line before belongs to the same list or table."""
    same = _LIST_OR_TABLE.match(before)
    return bool(same and (same[0] == "|") == (begin == "|")) or (begin != "|" and before.startswith("  "))


def _help() -> str:
    """What `--help` says, of every command. Importing the command line does not load PyTorch."""
    from typer.main import get_command

    from allyouneed.cli import app

    def told(command, name: str, parent) -> Iterator[str]:
        context = command.context_class(command, info_name=name, parent=parent, max_content_width=100)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        for each, child in getattr(command, "commands", {}).items():
            yield from told(child, each, context)

    return "\n".join(told(get_command(app), "allyouneed", None))


def _settings() -> str:
    """A table of every section: defaults, allowed values and descriptions."""
    from allyouneed.config import Config, list_settings

    lines = []
    for section, declared in Config.model_fields.items():
        lines += [f"## {section}", declared.annotation.__doc__ or "", "", "| setting | default | allowed | |"]
        lines += ["| --- | --- | --- | --- |"]
        for setting in list_settings():
            if setting.name.startswith(f"{section}."):
                lines.append(f"| `{setting.name}` | {setting.default} | {setting.allowed} | {setting.description} |")
        lines.append("")
    return "\n".join(lines)
