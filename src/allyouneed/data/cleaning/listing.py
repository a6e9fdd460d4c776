"""Files that list all dropped and repaired pairs, with line, check and reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from allyouneed.data.cleaning.block import Repair
from allyouneed.data.cleaning.registry import check_of
from allyouneed.data.files.formats import RawPair
from allyouneed.files import cannot_write

_BREAKS = re.compile(r"[\t\n\r]")


class Listing:
    """Tables of dropped and of repaired pairs.

    Args:
        dropped: Table of dropped pairs.
        repaired: Table of repaired pairs.
    """

    def __init__(self, dropped: TextIO, repaired: TextIO):
        self._dropped, self._repaired = dropped, repaired

    def drop(self, file: str, pair: RawPair, reason: str) -> None:
        """List a dropped pair of a file, if it does not name its own."""
        _write(self._dropped, pair.file or file, str(pair.line), check_of(reason), reason, pair.source, pair.target)

    def repair(self, file: str, pair: RawPair, repair: Repair) -> None:
        """List a repaired pair, as it was and as it is."""
        checks = ",".join(repair.checks)
        texts = pair.source, pair.target, repair.pair.source, repair.pair.target
        _write(self._repaired, pair.file or file, str(pair.line), checks, *texts)


@contextmanager
def open_listing(dropped: Path, repaired: Path) -> Iterator[Listing]:
    """Create both files.

    Raises:
        UserError: If they cannot be written.
    """
    try:
        dropped.parent.mkdir(parents=True, exist_ok=True)
        with _table(dropped) as first, _table(repaired) as second:
            _write(first, "file", "line", "check", "reason", "source", "target")
            _write(second, "file", "line", "checks", "source", "target", "repaired source", "repaired target")
            yield Listing(first, second)
    except OSError as error:
        raise cannot_write(dropped, error) from error


def _write(table: TextIO, *cells: str) -> None:
    table.write("\t".join(_BREAKS.sub(" ", cell) for cell in cells) + "\n")


def _table(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # file names may not be UTF-8
