"""What a run says while it trains: the terminal, `log.jsonl`, and TensorBoard when it is installed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from allyouneed.files import cannot_write
from allyouneed.progress import print_line, time_left

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Appends records, each a line with an `event`, to `log.jsonl`, and shows them. Silent on ranks but the first."""

    def __init__(self, run: Path, console: Console, active: bool = True):
        self.path, self.console, self.active = run / "log.jsonl", console, active
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._board: SummaryWriter | None = None

    def size(self) -> int:
        """Bytes written so far: what a checkpoint remembers."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size: int) -> None:
        """Forgets what was written after the checkpoint that is resumed."""
        if self.active and self.path.exists():
            os.truncate(self.path, min(size, self.size()))

    def record(self, event: str, **facts: Any) -> None:
        """Appends a line; numbers with a fraction are drawn over `step`. Errors: `UserError` when the disk is full."""
        if not self.active:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if "step" in facts:
            for name, value in facts.items():
                if isinstance(value, float):
                    self._draw(f"{event}/{name}", value, facts["step"])

    def say(self, text: str) -> None:
        """Shows a line, which `log.jsonl` does not have."""
        if self.active:
            print_line(self.console, text)

    def start(self, steps: int, step: int) -> None:
        """TensorBoard, and a progress bar in a terminal; elsewhere `progress` prints plain lines."""
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
        """steps: as planned now; rate: target tokens a second; plain: whether a line is due where there is no bar."""
        shown_loss, shown_rate = f"{loss:.3f}", f"{rate:,.0f}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, total=steps, loss=shown_loss, rate=shown_rate)
        elif plain:
            remaining = time_left(seconds_left)
            self.say(f"step {step:,}/{steps:,}  loss {shown_loss}  {shown_rate} tokens/s  {remaining}")

    def stop(self) -> None:
        """Ends the bar and TensorBoard's file; `record` and `say` go on."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._board is not None:
            with suppress(OSError):
                self._board.close()
            self._board = None

    def records(self) -> list[dict[str, Any]]:
        """All that was recorded; a last line cut off by a kill is left out."""
        kept = []
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            try:
                kept.append(json.loads(line))
            except ValueError:
                continue
        return kept

    def _draw(self, name: str, value: float, step: int) -> None:
        if self._board is None:
            return
        try:
            self._board.add_scalar(name, value, step)
        except OSError:  # the disk is full; what the run itself writes will say so
            self._board = None


def _tensorboard(run: Path, step: int) -> SummaryWriter | None:
    """None where it is not installed, or the folder's name is no UTF-8, which its files cannot have."""
    try:
        from torch.utils.tensorboard import SummaryWriter

        str(run).encode("utf-8")
    except (ImportError, UnicodeEncodeError):
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=step)
