"""Shaded tokens of an attribution, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

_FOR, _AGAINST = "226,113,29", "74,124,224"  # orange and blue, as in the explorer


def shaded_tokens(rows: Sequence[tuple[str, Sequence[str], np.ndarray]], caption: str) -> str:
    """Draw tokens with their values.

    Args:
        rows: Name, tokens and values of each row; orange is positive, blue is negative.
        caption: Text above the rows.

    Returns:
        HTML without script or style sheet.
    """
    largest = max(float(np.abs(values).max(initial=0)) for _, _, values in rows) or 1.0
    lines = [f"<div>{html.escape(caption)}</div>"]
    for name, tokens, values in rows:
        cells = "".join(_cell(token, float(x), largest) for token, x in zip(tokens, values, strict=True))
        lines.append(f'<div style="margin-top: .4em"><b>{html.escape(name)}</b> {cells}</div>')
    return f'<div style="line-height: 1.4">{"".join(lines)}</div>'


def _cell(token: str, value: float, largest: float) -> str:
    colour = f"rgba({_AGAINST if value < 0 else _FOR},{0.6 * abs(value) / largest:.2f})"
    style = f"display: inline-block; text-align: center; padding: 0 .3em; border-radius: .3em; background: {colour}"
    return f'<span style="{style}">{html.escape(token)}<br><small>{value:+.2f}</small></span>'
