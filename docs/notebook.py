"""Run examples/attention.ipynb and store its outputs: `python docs/notebook.py RUN`, or `make notebook RUN=...`.

Web pages that show notebooks, such as GitHub's, run no scripts. A result is stored as its picture or its text; in
Jupyter, the explorer is displayed instead.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "examples" / "attention.ipynb"


def run(notebook: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Run all code cells of a notebook in a namespace and store their output and results."""
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        with redirect_stdout(io.StringIO()) as printed:
            value = _execute("".join(cell["source"]), namespace)
        cell["execution_count"] = number + 1
        cell["outputs"] = []
        if printed.getvalue():
            lines = printed.getvalue().splitlines(keepends=True)
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": lines})
        if value is not None:
            result = {"output_type": "execute_result", "execution_count": number + 1, "metadata": {}}
            cell["outputs"].append({**result, "data": _stored(value)})


def _execute(code: str, namespace: dict[str, Any]) -> object:
    """Run a cell and return the value of its last line if that is an expression."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace) if last else None


def _stored(value: object) -> dict[str, Any]:
    png = value._repr_png_() if hasattr(value, "_repr_png_") else None
    text = [f"<{type(value).__name__}>"] if png else repr(value).splitlines(keepends=True)
    return {"text/plain": text} | ({"image/png": base64.b64encode(png).decode("ascii") + "\n"} if png else {})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/notebook.py RUN")
    os.environ["RUN"] = sys.argv[1]
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    run(content, {})
    NOTEBOOK.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
