"""The explorer as one file that opens from disk: script, style and data inside, nothing asked of the network.

The sources in `static/` are plain ES modules; a server gives them out as they are. In one file they stand one after
another in one module, since a page from disk may not import others.
"""

from __future__ import annotations

import base64
import hashlib
import html as escaping
import json
import re
from importlib.resources import files
from string import Template
from typing import Any

MODULES = (
    "texts.js",
    "data.js",
    "draw.js",
    "picture.js",
    "heads.js",
    "steps.js",
    "switches.js",
    "search.js",
    "app.js",
    "live.js",
    "corpus.js",
)
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)
_OTHER = re.compile(r"[^\x00-\x7f]")
_LATER = ("stages", "variants")  # much, and not shown by the first view: the page reads them when they are asked for


def html(data: dict[str, Any], ask: dict[str, Any] | None = None) -> str:
    """The page of `explorer.explorer_data`.

    ask: where a server has `live_variant`, as {"url": ..., "body": {...}}: the page posts the body with the switches
    there, for any combination; without it, it shows the variants that it carries and asks for nothing.
    """
    hook = f", {{fetchVariant: asking({_json(ask)})}}" if ask else ""
    call = f'start(document.getElementById("explorer"), pageData(){hook});'
    return _page(data, data["text"], call, "connect-src 'self'; " if ask else "")


def corpus_html(data: dict[str, Any]) -> str:
    """The page of `corpus.corpus_data`."""
    return _page(data, "heads", 'startCorpus(document.getElementById("explorer"), pageData());')


def static_text(name: str) -> str:
    """A file of `static/`."""
    return files(__package__).joinpath("static", name).read_text("utf-8")


def script() -> str:
    """All modules in one, imported ones first."""
    return "".join(_EXPORT.sub("", _IMPORT.sub("", static_text(name))) for name in MODULES)


def _page(data: dict[str, Any], title: str, call: str, allowed: str = "") -> str:
    # A browser reads a page of ASCII, one byte a character, a quarter quicker than any other.
    code = _OTHER.sub(lambda found: json.dumps(found[0])[1:-1], script() + call)
    style = _OTHER.sub(lambda found: f"\\{ord(found[0]):x} ", static_text("style.css"))
    title = escaping.escape(" ".join(title.split())[:80]) + " · allyouneed"
    policy = f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(style)}; img-src data: blob:; "
    template = Template(files(__package__).joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        policy=policy + allowed + "base-uri 'none'; form-action 'none'",
        title=title.encode("ascii", "xmlcharrefreplace").decode("ascii"),
        style=style,
        data=_data(data),
        script=code,
    )


def _data(data: dict[str, Any]) -> str:
    """As `data.js: pageData` reads it."""
    later = [name for name in _LATER if data.get(name)]
    parts = {"data": {**{name: x for name, x in data.items() if name not in later}, "later": later}}
    parts |= {name: data[name] for name in later}
    return "\n".join(
        f'<script type="application/json" id="{name}">{_json(part)}</script>' for name, part in parts.items()
    )


def _json(data: dict[str, Any]) -> str:
    """JSON that no HTML parser takes for anything else."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
