"""MkDocs hooks: GitHub-flavoured lists and tables, links to files outside docs/, `--help` texts, tables of settings.

Pages in docs/ link to files such as `../src/allyouneed/cli.py` by their path in the repository. The site contains each
linked file as a page under `repository/`, and likewise the files that those pages link to.
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
_REPOSITORY = "repository/"
_HELP, _SETTINGS = "<!-- the help of every command -->", "<!-- a table of every section -->"
_SEARCH_OPTIONS = "<!-- a table of search options -->"
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"\s*(```|~~~)")
_LIST_OR_TABLE = re.compile(r"(?:[-*] |1\. |\|)")
_LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".service": "ini", ".ipynb": "json", ".json": "json"}
_IMAGES = (".png", ".svg")
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add files outside docs/ that pages link to."""
    known = {file.src_uri for file in files}
    pending = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    while pending:
        for path in _linked_paths(*pending.pop()):
            if (uri := _site_uri(path)) in known:
                continue
            known.add(uri)
            if path.suffix in _IMAGES:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
            else:
                content = _page_content(path)
                files.append(File.generated(config, uri, content=content))
                pending.append((uri, content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links and block separators, and fill in generated sections."""
    uri = page.file.src_uri
    lines = _outside_fences(_with_blank_lines(markdown.split("\n")), lambda line: _LINK.sub(_site_link(uri), line))
    markdown = "\n".join(lines)
    for marker, generate in ((_HELP, _help), (_SETTINGS, _settings), (_SEARCH_OPTIONS, _search_options)):
        if marker in markdown:
            markdown = markdown.replace(marker, generate())
    return markdown


def _linked_paths(uri: str, text: str) -> list[PurePosixPath]:
    """List the paths in the repository that a page links to."""
    found: list[PurePosixPath] = []

    def collect(line: str) -> str:
        found.extend(path for link in _LINK.finditer(line) if (path := _repository_path(uri, link[1])))
        return line

    list(_outside_fences(text.split("\n"), collect))
    return found


def _repository_path(uri: str, link: str) -> PurePosixPath | None:
    """Resolve a page's link to a path in the repository; None if there is no such file."""
    generated = uri.startswith(_REPOSITORY)
    folder = PurePosixPath(uri.removeprefix(_REPOSITORY) if generated else f"docs/{uri}").parent
    path = PurePosixPath(os.path.normpath(folder / link))
    return path if not path.is_absolute() and path.parts[0] != ".." and (ROOT / path).exists() else None


def _site_uri(path: PurePosixPath) -> str:
    """Return the site's source path for a file or folder of the repository."""
    if (ROOT / path).is_dir():
        path /= "README.md" if (ROOT / path / "README.md").exists() else "index.md"
    elif path.suffix not in (".md", *_IMAGES) and path.parts[0] != "docs":
        path = path.with_name(f"{path.name}.md")
    return str(path.relative_to("docs")) if path.parts[0] == "docs" else f"{_REPOSITORY}{path}"


def _page_content(path: PurePosixPath) -> str:
    """Return a path outside docs/ as Markdown: a folder as README or list, Markdown unchanged, other text as code."""
    file = ROOT / path
    if file.is_dir() and not (file / "README.md").exists():
        entries = sorted(entry for entry in file.iterdir() if not entry.name.startswith((".", "__")))
        links = (f"[{entry.name}]({entry.name})" if _is_text(entry) else entry.name for entry in entries)
        return "\n".join([f"# {path}", "", *(f"- {link}" for link in links)])
    text = (file / "README.md" if file.is_dir() else file).read_text(encoding="utf-8")
    if file.is_dir() or path.suffix == ".md":
        return text
    return f"{_NOT_SEARCHED}# {path}\n\n~~~~~~{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n~~~~~~\n"


def _is_text(path: Path) -> bool:
    return path.is_file() and b"\0" not in path.read_bytes()[:1000]


def _site_link(uri: str) -> Callable[[re.Match], str]:
    def replace(link: re.Match) -> str:
        path = _repository_path(uri, link[1])
        return link[0] if path is None else os.path.relpath(_site_uri(path), PurePosixPath(uri).parent) + link[2]

    return replace


def _outside_fences(lines: list[str], change: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines, with those outside fenced code changed."""
    fence = None
    for line in lines:
        mark = _FENCE.match(line)
        yield line if fence or mark else change(line)
        if mark and fence in (None, mark[1]):
            fence = None if fence else mark[1]


def _with_blank_lines(lines: list[str]) -> list[str]:
    """Insert the blank line before a list or table that Python-Markdown needs and GitHub does not."""
    spaced: list[str] = []

    def separate(line: str) -> str:
        before = spaced[-1] if spaced else ""
        start = _LIST_OR_TABLE.match(line)
        return f"\n{line}" if start and before.strip() and not _same_block(before, start[0]) else line

    for line in _outside_fences(lines, separate):
        spaced += line.split("\n")
    return spaced


def _same_block(before: str, start: str) -> bool:
    """Whether the previous line belongs to the list or table that `start` continues."""
    previous = _LIST_OR_TABLE.match(before)
    same = previous and (previous[0] == "|") == (start == "|")
    return bool(same) or (start != "|" and before.startswith("  "))


def _help() -> str:
    """Render the `--help` output of every command."""
    from typer.main import get_command  # only the page of commands needs these

    from allyouneed.cli import app

    def sections(command, name: str, parent) -> Iterator[str]:
        context = command.context_class(command, info_name=name, parent=parent, max_content_width=100)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        for child_name, child in getattr(command, "commands", {}).items():
            yield from sections(child, child_name, context)

    return "\n".join(sections(get_command(app), "allyouneed", None))


def _search_options() -> str:
    """Render a table of the fields of SearchOptions."""
    from allyouneed.translation.options import SearchOptions  # only the page of public names needs it

    lines = ["| field | default | |", "| --- | --- | --- |"]
    for name, field in SearchOptions.model_fields.items():
        lines.append(f"| `{name}` | `{field.default!r}` | {field.description} |")
    return "\n".join(lines)


def _settings() -> str:
    """Render a table of defaults, allowed values and descriptions for each section of the settings."""
    from allyouneed.config import Config, list_settings  # only the page of settings needs these

    lines = []
    for section, declared in Config.model_fields.items():
        lines += [f"## {section}", declared.annotation.__doc__ or "", "", "| setting | default | allowed | |"]
        lines += ["| --- | --- | --- | --- |"]
        for setting in list_settings():
            if setting.name.startswith(f"{section}."):
                lines.append(f"| `{setting.name}` | {setting.default} | {setting.allowed} | {setting.description} |")
        lines.append("")
    return "\n".join(lines)
