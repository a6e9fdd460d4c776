"""Curves for TensorBoard, which must be installed, written without its thread, whose errors would be printed."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Board:
    """A file of events, each with a checksum by the format. A `record` is written at once.

    Args:
        folder: Folder of the files, one for each time that the run is started.
        step: Number of steps so far; TensorBoard drops what an earlier file has after it.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, folder: Path, step: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "ab")  # noqa: SIM115 (closed by `close`)
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=step, session_log=start))

    def record(self, step: int, values: dict[str, float]) -> None:
        """Plot values at a step, by name; raises `OSError` if the file cannot be written."""
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))

    def close(self) -> None:
        """Close the file; raises `OSError` if a record could not be written."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()
