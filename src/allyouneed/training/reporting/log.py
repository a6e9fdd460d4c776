"""Logging of a training run: terminal, `log.jsonl`, and TensorBoard if it is installed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from allyouneed.files import cannot_write, json_line
from allyouneed.interruption import ignoring_closed_terminal
from allyouneed.progress import print_line, time_left

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


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
        self._board: SummaryWriter | None = None

    def size(self) -> int:
        """Return the size of the log in bytes, which a checkpoint stores."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size: int) -> None:
        """Truncate the log to `size` bytes, its size at the checkpoint, to remove later records."""
        if self.active and self.path.exists():
            os.truncate(self.path, min(size, self.size()))

    def record(self, event: str, **facts: Any) -> None:
        """Append a record; TensorBoard plots its floats over `step`. Raises `UserError` if the disk is full."""
        if not self.active:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json_line({"event": event, **facts}) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if "step" in facts:
            for name, value in facts.items():
                if isinstance(value, float):
                    self._plot(f"{event}/{name}", value, facts["step"])

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
            self._board = _tensorboard(self.path.parent, step)
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
        if self._board is not None:
            with suppress(OSError):
                self._board.close()
            self._board = None

    def records(self) -> list[dict[str, Any]]:
        """Read all records; a line truncated when the process was killed is skipped."""
        kept = []
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            try:
                kept.append(json.loads(line))
            except ValueError:
                continue
        return kept

    def _plot(self, name: str, value: float, step: int) -> None:
        if self._board is None:
            return
        try:
            self._board.add_scalar(name, value, step)
        except OSError:  # disk full: the next checkpoint reports it
            self._board = None


def _tensorboard(run: Path, step: int) -> SummaryWriter | None:
    """Open TensorBoard's writer; None if it is not installed, or for a folder name that is not UTF-8."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

        str(run).encode("utf-8")
    except (ImportError, UnicodeEncodeError):
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=step)
