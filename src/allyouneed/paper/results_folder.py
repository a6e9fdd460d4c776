"""Folder of a command's measurements, stored part by part, so that an interrupted command can resume.

The folder contains `parts.json` during the measurements; at the end, also `results.json`, a CSV file per table, a PNG
file per plot, and the page, `README.md`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from pydantic import BaseModel

from allyouneed.errors import UserError
from allyouneed.files import write_file
from allyouneed.json_text import to_json
from allyouneed.untrusted import checked, read_typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row: TypeAlias = Mapping[str, Any]
_PARTS, _PAGE = "parts.json", "README.md"
_HOME = Path("runs") / "paper"


class Results:
    """Measurements of one command.

    Attributes:
        folder: Folder of the results.
        request: Arguments of the command, which must be the same when it resumes.
        parts: Measurements by key.

    Args:
        folder: A new folder, or that of an interrupted command.
        request: Arguments of the command.

    Raises:
        UserError: If the folder was started with other arguments, or has another page.
    """

    def __init__(self, folder: Path, request: Mapping[str, object]):
        self.folder, self.request = folder, _through_json(request)
        stored = _stored(folder / _PARTS) if (folder / _PARTS).exists() else None
        if stored is None and (folder / _PAGE).exists():  # `finish` would overwrite it
            raise UserError(f"{folder} has an unrelated {_PAGE}. Give a new or an empty folder to --out.")
        if stored and stored["asked"] != self.request:
            before = stored["asked"]
            changed = next(key for key in {**before, **self.request} if before.get(key) != self.request.get(key))
            raise UserError(
                f"{folder} was started with {changed} = {before.get(changed)}, now {self.request.get(changed)}. "
                "Choose another --out, or repeat the original command."
            )
        self.parts: dict[str, dict[str, Any]] = stored["parts"] if stored else {}

    @classmethod
    def open(cls, name: str, out: Path | None, request: Mapping[str, object]) -> Results:
        """Open the folder of a command.

        Args:
            name: Name of the command.
            out: The folder; None resumes the newest unfinished folder `runs/paper/NAME-*` with the same arguments, or
                else creates one with today's date.
            request: Arguments of the command.

        Returns:
            The results, with the parts that are already measured.

        Raises:
            UserError: If the folder was started with other arguments, or has another page.
        """
        if out is not None:
            return cls(out, request)
        for parts in sorted(_HOME.glob(f"{name}-*/{_PARTS}"), key=os.path.getmtime, reverse=True):
            if not (parts.parent / _PAGE).exists() and _stored(parts)["asked"] == _through_json(request):
                return cls(parts.parent, request)
        dated = _HOME / f"{name}-{date.today().isoformat()}"
        number, folder = 1, dated
        while folder.exists():
            number += 1
            folder = dated.with_name(f"{dated.name}-{number}")
        return cls(folder, request)

    def part(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a part; measure and store it first if it is new.

        Args:
            key: Name of the part.
            measure: Called if the part is not stored; its result must be JSON.

        Returns:
            The part as read from JSON.
        """
        if key not in self.parts:
            self.store(key, measure())
        return self.parts[key]

    def store(self, key: str, values: dict[str, Any]) -> None:
        """Write a part to disk.

        Args:
            key: Name of the part.
            values: Its content, as JSON.

        Raises:
            UserError: If the folder cannot be written.
        """
        self.parts[key] = _through_json(values)
        write_file(self.folder / _PARTS, to_json({"asked": self.request, "parts": self.parts}))

    def finish(
        self, page: str, tables: Mapping[str, Sequence[Row]], plots: Mapping[str, Figure], svg: bool = False
    ) -> Path:
        """Write tables, plots, `results.json` and, last, the page with the date and the machine at its end.

        Args:
            page: The page in Markdown.
            tables: Rows of each table, written as NAME.csv.
            plots: Figures, written as NAME.png.
            svg: Write NAME.svg too.

        Returns:
            The path of the page.
        """
        today = date.today().isoformat()
        for name, rows in tables.items():
            write_file(self.folder / f"{name}.csv", as_csv(rows))
        for name, figure in plots.items():
            for kind in ("png", "svg") if svg else ("png",):
                image = io.BytesIO()
                figure.savefig(image, format=kind, dpi=150, bbox_inches="tight")
                write_file(self.folder / f"{name}.{kind}", image.getvalue())
        content = {"date": today, "machine": machine(), "asked": self.request, "tables": tables, "parts": self.parts}
        write_file(self.folder / "results.json", to_json(content))
        write_file(self.folder / _PAGE, f"{page.rstrip()}\n\nMeasured on {today}, on {machine()}.\n")
        return self.folder / _PAGE


def as_csv(rows: Sequence[Row]) -> str:
    """Format rows as CSV.

    Args:
        rows: Cells by column. Rows may have different columns; columns are in the order of first appearance.

    Returns:
        The text of the file.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table.

    Args:
        rows: Cells by column; None is an empty cell. Numbers are not rounded.

    Returns:
        The lines of the table.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [["" if row.get(key) is None else str(row[key]) for key in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Describe the machine: processor, cores, accelerator if there is one (used or not), PyTorch."""
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{_processor()}, {os.cpu_count()} cores{accelerator}, PyTorch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


class _Results(BaseModel):
    """Content of the file of an unfinished command."""

    asked: dict[str, Any]
    parts: dict[str, dict[str, Any]]


def _stored(path: Path) -> dict[str, Any]:
    remedy = "Give another --out, or delete the folder."
    content = read_typed(path, dict[str, Any], remedy, any_text=True)
    checked(content, _Results, path, remedy)
    return content


def _through_json(values: Mapping[str, object]) -> dict[str, Any]:
    """Convert values as if written to JSON and read back: tuples become lists, keys become strings."""
    return json.loads(json.dumps(values))
