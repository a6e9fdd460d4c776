"""Parts of self-contained HTML pages: hashes for their content security policy, and data that cannot end a script."""

from __future__ import annotations

import base64
import hashlib
import json


def source_hash(text: str) -> str:
    """Return the source expression of a content security policy that allows exactly this inline script or style."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def json_for_html(data: object) -> str:
    """Return ASCII JSON without characters that are special in HTML, for a `<script type="application/json">`."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
