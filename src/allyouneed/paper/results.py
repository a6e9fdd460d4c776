"""A dated folder for what a command measures: kept part by part, so that the same command goes on where it stopped.

`parts.json` while it goes on; at the end `results.json`, a CSV a table, a PNG a plot, and `README.md`, the page.
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
from typing import TYPE_CHECKING, Any

import torch

from allyouneed.errors import UserError
from allyouneed.files import read_json, to_json, write_file
from allyouneed.paper.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
_PARTS, _PAGE = "parts.json", "README.md"
_HOME = Path("runs") / "paper"


class Results:
    """What one command measures. `folder`: where; `asked`: what was asked for, by which a command knows its own.

    Errors: `UserError` for a folder that was begun with something else, or has another page.
    """

    def __init__(self, folder: Path, asked: Mapping[str, object]):
        self.folder, self.asked = folder, _as_json(asked)
        stored = _stored(folder / _PARTS) if (folder / _PARTS).exists() else None
        if stored is None and (folder / _PAGE).exists():  # which the page would replace
            raise UserError(f"{folder} has a {_PAGE} of something else. Give a new or an empty folder to --out.")
        if stored and stored["asked"] != self.asked:
            begun = stored["asked"]
            changed = next(key for key in {**begun, **self.asked} if begun.get(key) != self.asked.get(key))
            raise UserError(
                f"{folder} was begun with {changed} = {begun.get(changed)}, now {self.asked.get(changed)}. "
                "Give another --out, or the same command as before."
            )
        self.parts: dict[str, dict[str, Any]] = stored["parts"] if stored else {}

    @classmethod
    def open(cls, name: str, out: Path | None, asked: Mapping[str, object]) -> Results:
        """The folder `out`; without it the newest of this name that is unfinished and asked for the same, else a new
        one with today's date, below `runs/paper`. Errors: `UserError` for a folder that was begun with something else,
        and where matplotlib is missing: now, not after the work."""
        new_figure(1, 1)
        if out is not None:
            return cls(out, asked)
        for parts in sorted(_HOME.glob(f"{name}-*/{_PARTS}"), key=os.path.getmtime, reverse=True):
            if not (parts.parent / _PAGE).exists() and _stored(parts)["asked"] == _as_json(asked):
                return cls(parts.parent, asked)
        dated = _HOME / f"{name}-{date.today().isoformat()}"
        number, folder = 1, dated
        while folder.exists():
            number += 1
            folder = dated.with_name(f"{dated.name}-{number}")
        return cls(folder, asked)

    def part(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured under this key, now or by an earlier call that was interrupted later. JSON only."""
        if key not in self.parts:
            self.keep(key, measure())
        return self.parts[key]

    def keep(self, key: str, facts: dict[str, Any]) -> None:
        """Stores a part at once. Errors: `UserError` when the folder cannot be written."""
        self.parts[key] = _as_json(facts)
        write_file(self.folder / _PARTS, to_json({"asked": self.asked, "parts": self.parts}))

    def finish(
        self, page: str, tables: Mapping[str, Sequence[Row]], plots: Mapping[str, Figure], svg: bool = False
    ) -> Path:
        """Writes NAME.csv a table, NAME.png (and .svg) a plot, results.json with all of it, and the page, last.

        -> the page's path. The page ends with the machine and the date.
        """
        facts = {"date": date.today().isoformat(), "machine": machine(), "asked": self.asked}
        for name, rows in tables.items():
            write_file(self.folder / f"{name}.csv", as_csv(rows))
        for name, figure in plots.items():
            for kind in ("png", "svg") if svg else ("png",):
                image = io.BytesIO()
                figure.savefig(image, format=kind, dpi=150, bbox_inches="tight")
                write_file(self.folder / f"{name}.{kind}", image.getvalue())
        write_file(self.folder / "results.json", to_json({**facts, "tables": tables, "parts": self.parts}))
        footer = f"Measured on {facts['date']}, on {machine()}."
        write_file(self.folder / _PAGE, f"{page.rstrip()}\n\n{footer}\n")
        return self.folder / _PAGE


def as_csv(rows: Sequence[Row]) -> str:
    """The union of the rows' keys as columns, in the order of their first appearance."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_table(rows: Sequence[Row]) -> str:
    """Rows as a table of Markdown; None is an empty cell. Numbers are to be rounded by the caller, as strings."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [["" if row.get(key) is None else str(row[key]) for key in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """The machine in words: processor, cores, accelerator if there is one (used or not), PyTorch."""
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{_processor()}, {os.cpu_count()} cores{accelerator}, PyTorch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _stored(path: Path) -> dict[str, Any]:
    return read_json(path, "Give another --out, or delete the folder.", lambda kept: (kept["asked"], kept["parts"]))


def _as_json(facts: Mapping[str, object]) -> dict[str, Any]:
    """As it will be when read again: tuples are lists, keys are strings."""
    return json.loads(json.dumps(facts))
