"""The page of `benchmarks/quick.py`: comparisons as a Markdown table and as an HTML page with bars."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

_WIDEST = 4.0  # ratio of the longest bar


@dataclass(frozen=True)
class Comparison:
    """Alternating measurements of one quantity, ours and a peer's.

    Attributes:
        what: The quantity.
        peer: Name of the peer.
        ours: Our values.
        theirs: The peer's values.
        more_is_better: True for rates, False for times and memory.
        unit: Unit of the values.
    """

    what: str
    peer: str
    ours: list[float]
    theirs: list[float]
    more_is_better: bool
    unit: str

    @property
    def ratio(self) -> float:
        """Ratio of the medians; above 1 if ours is better."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return ours / theirs if self.more_is_better else theirs / ours


@dataclass(frozen=True)
class Section:
    """Comparisons with a title, and the reasons why others are missing."""

    title: str
    rows: list[Comparison]
    skipped: list[str]


def as_markdown(sections: Iterable[Section]) -> str:
    """Format one table per section; a ratio above 1 means that ours is better."""
    parts = []
    for section in sections:
        lines = [f"**{section.title}**"]
        if section.rows:
            lines += ["", "| | compared with | ours: median (range) | the other | ours is better by |"]
            lines.append("| --- | --- | --- | --- | --- |")
        for row in section.rows:
            values = f"{_values(row.ours, row.unit)} | {_values(row.theirs, row.unit)}"
            lines.append(f"| {row.what} | {row.peer} | {values} | {row.ratio:.2f} × |")
        lines += ["", *(f"- {reason}" for reason in section.skipped)] if section.skipped else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def as_html(title: str, described: str, sections: Iterable[Section]) -> str:
    """Format as one page without scripts and external parts."""
    body = []
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        if section.rows:
            body.append(f"<table>{''.join(map(_row, section.rows))}</table>")
        body += [f"<p>{html.escape(reason)}</p>" for reason in section.skipped]
    return _PAGE.format(title=html.escape(title), described=html.escape(described), body="\n".join(body))


def _row(row: Comparison) -> str:
    width = 100 * min(row.ratio, _WIDEST) / _WIDEST
    kind = "better" if row.ratio >= 1 else "worse"
    values = f"{_values(row.ours, row.unit)} compared with {_values(row.theirs, row.unit)}"
    return (
        f"<tr><th>{html.escape(row.what)}<br><small>{html.escape(row.peer)}</small></th>"
        f'<td class="bar"><div class="{kind}" style="width:{width:.1f}%"></div>'
        f"<i></i><b>{row.ratio:.2f} ×</b></td><td>{html.escape(values)}</td></tr>\n"
    )


def _values(values: list[float], unit: str) -> str:
    low, middle, high = (_number(each) for each in (min(values), statistics.median(values), max(values)))
    return f"{middle} {unit} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; }}
h1 {{ font-size: 1.5em; }} h2 {{ font-size: 1.1em; margin-top: 2em; }}
table {{ border-collapse: collapse; width: 100%; }}
th {{ text-align: left; font-weight: 500; width: 15em; padding: .3em .6em .3em 0; }}
small, p {{ color: #666; }}
.bar {{ position: relative; width: 40%; background: #f3f3f3; }}
.bar div {{ height: 1.6em; }} .better {{ background: #9ecae1; }} .worse {{ background: #fdae6b; }}
.bar b {{ position: absolute; left: .6em; top: 50%; transform: translateY(-50%); }}
.bar i {{ position: absolute; left: 25%; top: 0; bottom: 0; border-left: 1px dashed #666; }}
td:last-child {{ padding-left: 1em; font-size: .9em; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #1a1a1a; color: #ddd; }} small, p {{ color: #999; }} .bar {{ background: #2a2a2a; }}
  .better {{ background: #2c5d7c; }} .worse {{ background: #8a4f1d; }}
}}
</style>
<h1>{title}</h1>
<p>{described}</p>
<p>The bar is the ratio of the medians; the dashed line is 1, longer is better for allyouneed.</p>
{body}
</html>
"""
