"""The page of a comparison: one self-contained HTML file, in English and Korean, that makes no requests."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from allyouneed.offline_page import json_for_html, source_hash


def comparison_html(data: dict[str, Any]) -> str:
    """Make the page.

    Args:
        data: Result of `Comparison.as_dict`, and the sentences of the sample as `sample`.

    Returns:
        HTML with a content security policy that allows nothing but its own script and style.
    """
    script, style = _static("comparison_texts.js") + _static("comparison.js"), _static("comparison.css")
    policy = (
        f"default-src 'none'; script-src {source_hash(script)}; style-src {source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    title = " · ".join([*(name[-60:] for name in data["systems"]), "allyouneed"])
    return Template(_static("comparison.html")).substitute(
        policy=policy, title=escape(title), style=style, data=json_for_html(data), script=script
    )


def _static(name: str) -> str:
    return files(__package__).joinpath("static", name).read_text("utf-8")
