"""Logging of a training run: terminal, `log.jsonl`, and TensorBoard if it is installed.

Training does not depend on them: if they are damaged or cannot be written, it goes on, and a line is shown.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from allyouneed.durable import sync
from allyouneed.errors import UserError
from allyouneed.files import write_file
from allyouneed.interruption import ignoring_closed_terminal
from allyouneed.json_text import json_line
from allyouneed.progress import print_line, time_left
from allyouneed.seals import intact_lines, seal_line
from allyouneed.untrusted import read_regular

if TYPE_CHECKING:
    from allyouneed.training.reporting.board import Board

_LARGEST = 1 << 28  # bytes of a log that are read; a million lines


class RunLog:
    """Log of a run: appends records (JSON objects with an `event`) to `log.jsonl`, and shows progress.

    Args:
        run: Folder of the run.
        console: Where progress is shown.
        active: Whether to log at all; only rank 0 does.
    """

    def __init__(self, run: Path, console: Console, active: bool = True):
        self.path, self.console, self.active = run / "log.jsonl", console, active
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._board: Board | None = None
        self._pending = b""  # lines that could not be written yet

    def saved(self) -> bytes | None:
        """Write the log from memory to the disk, and return its content for a checkpoint; None if it cannot be read."""
        if not self.active:
            return None
        self._append(b"")
        with suppress(OSError):
            sync(self.path)
            sync(self.path.parent)
        content = self._content()
        return None if content is None else content + self._pending

    def rewind(self, size: int | None, copy: Path | None = None) -> None:
        """Restore the log as it was at a checkpoint: later records are removed, and damaged ones restored.

        Args:
            size: Its size in bytes; None if it could not be read then, and is kept as it is.
            copy: Its content; None or a missing file if there is none.
        """
        if not self.active or size is None:
            return
        now = self._content() or b""
        try:
            before = read_regular(copy, _LARGEST) if copy and copy.exists() else now[:size]
            if before != now[:size]:
                self.show(f"{self.path} was damaged or incomplete, and is restored from {copy}")
                write_file(self.path, before)
            elif len(now) > size:
                os.truncate(self.path, size)
        except OSError as error:
            self._remark(self.path, "cannot be written", error)
        except UserError as error:
            self.show(f"{error} Training goes on.")

    def record(self, event: str, **facts: Any) -> None:
        """Append a record with a checksum, and plot its floats over `step` with TensorBoard."""
        if not self.active:
            return
        self._append(seal_line(json_line({"event": event, **facts}).encode("utf-8", "backslashreplace")) + b"\n")
        values = {f"{event}/{name}": value for name, value in facts.items() if isinstance(value, float)}
        if self._board is not None and values and "step" in facts:
            try:
                self._board.record(facts["step"], values)
            except OSError as error:
                self._remark(self.path.parent / "tensorboard", "cannot be written", error)
                self._close_board()

    def show(self, text: str) -> None:
        """Show a line on the console without recording it."""
        if self.active:
            print_line(self.console, text)

    def start(self, steps: int, step: int) -> None:
        """Open TensorBoard's file and, on a terminal, a progress bar.

        Args:
            steps: Planned number of steps.
            step: Number of steps so far.
        """
        if self.active:
            self._open_board(step)
        if self.active and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._progress = Progress(
                TextColumn("{task.completed:,}/{task.total:,} steps"),
                BarColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("{task.fields[rate]} tokens/s"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task("train", total=steps, completed=step, loss="–", rate="–")

    def progress(self, step: int, steps: int, loss: float, rate: float, seconds_left: float, plain: bool) -> None:
        """Update the progress bar, or print a line if there is no bar.

        Args:
            step: Number of steps so far.
            steps: Planned number of steps.
            loss: Loss in nats per target token.
            rate: Target tokens per second.
            seconds_left: Estimated time left.
            plain: Whether to print a line if there is no bar.
        """
        shown_loss, shown_rate = f"{loss:.3f}", f"{rate:,.0f}"
        if self._progress is not None and self._task is not None:
            with ignoring_closed_terminal():
                self._progress.update(self._task, completed=step, total=steps, loss=shown_loss, rate=shown_rate)
        elif plain:
            remaining = time_left(seconds_left)
            self.show(f"step {step:,}/{steps:,}  loss {shown_loss}  {shown_rate} tokens/s  {remaining}")

    def stop(self) -> None:
        """Close the progress bar and TensorBoard's file; `record` and `show` still work."""
        if self._progress is not None:
            with ignoring_closed_terminal():
                self._progress.stop()
            self._progress = None
        self._close_board()

    def records(self) -> list[dict[str, Any]]:
        """Read all records, without their checksums; damaged lines are skipped, and their number is shown."""
        lines, damaged, _ = intact_lines(self._content() or b"")
        kept = []
        for line in lines:
            try:
                kept.append({name: value for name, value in json.loads(line).items() if name != "crc32"})
            except (ValueError, AttributeError):
                damaged += bool(line)
        if damaged:
            self.show(f"{self.path} has damaged lines, {damaged:,} in all, which curves and report lack.")
        return kept

    def _content(self) -> bytes | None:
        try:
            return read_regular(self.path, _LARGEST) if self.path.exists() else b""
        except OSError as error:
            self._remark(self.path, "cannot be read", error)
            return None

    def _append(self, line: bytes) -> None:
        """Append a line, and what could not be written before; after an error, it is tried again with the next line."""
        was_pending, self._pending = bool(self._pending), self._pending + line
        if not self._pending:
            return
        before: int | None = None
        try:
            with open(self.path, "ab") as file:
                before = file.tell()
                file.write(self._pending)
            self._pending = b""
        except OSError as error:
            if before is not None:
                with suppress(OSError):
                    os.truncate(self.path, before)  # what was written of it
            if not was_pending:
                self._remark(self.path, "cannot be written", error)

    def _open_board(self, step: int) -> None:
        """Open TensorBoard's file, unless it is not installed or cannot handle the folder's name, in UTF-8."""
        folder = self.path.parent / "tensorboard"
        try:
            from allyouneed.training.reporting.board import Board  # TensorBoard is optional, and slow to import

            str(folder).encode("utf-8")
            self._board = Board(folder, step)
        except (ImportError, UnicodeEncodeError):
            self._board = None
        except OSError as error:
            self._remark(folder, "cannot be written", error)

    def _close_board(self) -> None:
        if self._board is not None:
            with suppress(OSError):
                self._board.close()
            self._board = None

    def _remark(self, path: Path, what: str, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        self.show(f"{path}: {what} ({reason}). Training goes on; it does not depend on this file.")
