"""The explorer as one self-contained HTML file with script, style and data.

The page makes no network requests, except for variants if `html` is called with `ask`. The sources in `static/` are
plain ES modules. A page opened from disk cannot import modules, so the file contains those it needs, concatenated.
"""

from __future__ import annotations

import html as escaping
import json
import re
from abc import ABC, abstractmethod
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from allyouneed.files import write_file
from allyouneed.offline_page import json_for_html, source_hash

PAGE_BYTES = 1_940_000  # of a page; the rest of 2 MB is for the frames of the arrays and rounding
_IMPORT = re.compile(r'^import (?:[^;]* from )?"\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*.*?\*/)\n", re.MULTILINE | re.DOTALL)  # whole lines
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)  # no string of the modules spans several lines, see the tests
_LINE_END = re.compile(r"(?<!\})\n[ \t]+|\n(?=\})")  # within a rule
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# Parts that are large and not needed by the first view: parsed on first use.
_DEFERRED = ("stages", "variants", "effects", "lens", "inside", "attribution", "patching", "comparison", "twins")


class Showable(ABC):
    """Data that a notebook displays in the explorer, and that can be saved as a page."""

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Return the data of the page, see `explorer.py`."""

    def html(self) -> str:
        """Make a self-contained page of the explorer."""
        return html(self.data())

    def save(self, path: str | Path) -> Path:
        """Write the page to a file and return its path.

        Raises:
            UserError: If the file cannot be written.
        """
        write_file(Path(path), self.html())
        return Path(path)

    def _repr_html_(self) -> str:
        """Return the explorer in a sandboxed frame that may run its script and download files."""
        page = escaping.escape(self.html(), quote=True)
        frame = 'width="100%" height="900" style="border: 0" sandbox="allow-scripts allow-downloads"'
        return f'<iframe {frame} title="allyouneed" srcdoc="{page}"></iframe>'


def html(data: dict[str, Any], ask: dict[str, Any] | None = None) -> str:
    """Make the page for one sentence.

    Args:
        data: Data from `explorer.explorer_data`.
        ask: Request for further variants, {"url": ..., "body": {...}}: the page posts the body with the switches to the
            server, which responds with `live_variant`, and questions to its paths /attribution and /patching. None: the
            page shows only what is in `data`.

    Returns:
        HTML, ASCII only.
    """
    hooks = ("fetchVariant", "asking"), ("fetchAttribution", "askingAttribution"), ("fetchPatching", "askingPatching")
    made = ", ".join(f"{hook}: {maker}({json_for_html(ask)})" for hook, maker in hooks) if ask else ""
    hook = f", {{{made}}}" if ask else ""
    call = f'start(document.getElementById("explorer"), pageData(){hook});'
    entries = ("app.js", "live.js") if ask else ("app.js",)
    return _page(data, data["text"] or data["translation"] or "", entries, call, "connect-src 'self'; " if ask else "")


def corpus_html(data: dict[str, Any]) -> str:
    """Make the page of head statistics from the data of `corpus_heads.corpus_data`."""
    call = 'startCorpus(document.getElementById("explorer"), pageData());'
    return _page(data, "heads", ("corpus.js",), call)


def film_html(data: dict[str, Any]) -> str:
    """Make the page of heads over training from the data of `over_training.film_page`."""
    call = 'startFilm(document.getElementById("explorer"), pageData());'
    return _page(data, data["text"], ("film.js",), call)


def static_text(name: str) -> str:
    """Read a file of `static/`."""
    return files(__package__).joinpath("static", name).read_text("utf-8")


def modules(*entries: str) -> list[str]:
    """List the modules that `entries` need, imported ones first, then the entries themselves."""
    found: dict[str, None] = {}

    def visit(name: str, importing: tuple[str, ...] = ()) -> None:
        if name in found or name in importing:
            return
        for imported in _IMPORT.findall(static_text(name)):
            visit(imported, (*importing, name))
        found[name] = None

    for entry in entries:
        visit(entry)
    return list(found)


@cache
def script(*entries: str) -> str:
    """Concatenate the modules that `entries` need, without comments and indentation."""
    code = "".join(_EXPORT.sub("", _IMPORT.sub("", static_text(name))) for name in modules(*entries))
    return _INDENT.sub("", _COMMENT.sub("", code))


@cache
def style() -> str:
    """Return style.css with one rule per line."""
    return _LINE_END.sub(" ", static_text("style.css"))


def _page(data: dict[str, Any], title: str, entries: tuple[str, ...], call: str, allowed: str = "") -> str:
    # Browsers parse ASCII-only pages about 25 % faster.
    code = _NON_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], script(*entries) + call)
    css = _NON_ASCII.sub(lambda found: f"\\{ord(found[0]):x} ", style())
    title = escaping.escape(" ".join(title.split())[:80]) + " · allyouneed"
    policy = f"default-src 'none'; script-src {source_hash(code)}; style-src {source_hash(css)}; img-src data: blob:; "
    template = Template(files(__package__).joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        policy=policy + allowed + "base-uri 'none'; form-action 'none'",
        title=title.encode("ascii", "xmlcharrefreplace").decode("ascii"),
        style=css,
        data=_data(data),
        script=code,
    )


def _data(data: dict[str, Any]) -> str:
    """Return script elements with JSON, which `pageData` in data.js reads."""
    deferred = [name for name in _DEFERRED if data.get(name)]
    parts = {"data": {**{name: x for name, x in data.items() if name not in deferred}, "deferred": deferred}}
    parts |= {name: data[name] for name in deferred}
    return "\n".join(
        f'<script type="application/json" id="{name}">{json_for_html(part)}</script>' for name, part in parts.items()
    )
