"""Verification of every file of a RUN, finished or not (`allyouneed check`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from allyouneed.bundle import check_finished
from allyouneed.data.block_files import read_block
from allyouneed.data.prepared import PreparedData
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import MANIFEST, check_folder, read_sealed
from allyouneed.seals import intact_lines, page_is_intact
from allyouneed.snapshots import KEPT
from allyouneed.untrusted import cannot_read, changed, read_regular

_AGAIN = "run the `allyouneed train` command of the run again"
_SEALED = b'"checksum": "'
_MOST_NAMED = 3  # damaged files in a message


class _Part(NamedTuple):
    """A file or a folder of a RUN.

    Attributes:
        path: The file or the folder.
        verify: Returns whether it has a checksum; raises `UserError` if it is damaged or cannot be read.
    """

    path: Path
    verify: Callable[[Path], bool]


def is_run_folder(path: Path) -> bool:
    """Return whether a folder is a RUN as `allyouneed train` and `distil` write it, not a bundle alone."""
    return (path / ".lock").exists() or (path / "run.json").exists()


def verify_run(run: Path) -> str:
    """Compare all files of a RUN with their checksums.

    Args:
        run: The RUN.

    Returns:
        A line that reports the result, and names what has no checksums.

    Raises:
        UserError: If files are damaged or cannot be read; names the first of them, with remedies.
    """
    faults, without, count = list[str](), list[str](), 0
    for part in _parts(run):
        if part.path.name.endswith((".unfinished", ".replaced")):  # of an interrupted write
            continue
        try:
            if part.verify(part.path):
                count += 1
            else:
                without.append(part.path.relative_to(run).as_posix())
        except UserError as error:
            faults.append(str(error))
    if faults:
        more = f" {len(faults) - _MOST_NAMED} more files are damaged." if len(faults) > _MOST_NAMED else ""
        raise UserError(f"{' '.join(faults[:_MOST_NAMED])}{more}")
    old = f"; not verified, for lack of checksums: {', '.join(without)}" if without else ""
    return f"{run}: {count} files and folders match their checksums{old}"


def _parts(run: Path) -> Iterator[_Part]:
    """Yield what results depend on, then the rest."""
    yield from _records(run)
    data = PreparedData(run / "data")
    if data.folder.exists() and not data.blocks.exists():  # else it is being prepared
        yield _Part(data.folder, lambda path: data.verify())
    for path in sorted(data.blocks.glob("*.npz")):
        yield _Part(path, _verify_block)
    for path in sorted((run / "checkpoints").glob("*")):
        is_checkpoint = path.name.startswith("step-")
        remedy = f"Delete {path} and {_AGAIN}: it goes on from an earlier step."
        yield _Part(path, _folder(remedy if is_checkpoint else "The average will be made without it, and named so."))
    for path in sorted((run / KEPT).glob("weights-*")):
        yield _Part(path, _folder(f"Delete {path}: only `allyouneed look` reads it."))
    if (run / "bundle").exists():
        yield _Part(run / "bundle", lambda path: _verify_bundle(path, run / "run.json"))
    for path in sorted((run / "distilled").rglob(MANIFEST)):
        yield _Part(path.parent, _folder("Delete the file and run the `allyouneed distil` command again."))
    for name, verify in (("log.jsonl", _verify_log), ("report.html", _verify_page)):
        if (run / name).exists():
            yield _Part(run / name, verify)
    for path in sorted((run / "tensorboard").glob("events.*")):
        yield _Part(path, _verify_events)


def _records(run: Path) -> Iterator[_Part]:
    """Yield `run.json` and its copy, unless neither is there, or an earlier version wrote no copy."""
    record, copy = run / "run.json", run / "run.json.copy"
    remedy = f"To restore it from its copy, {_AGAIN}."
    if record.exists() or copy.exists():
        yield _Part(record, lambda path: read_sealed(path, dict[str, Any], remedy)[1])
    if copy.exists() or (record.exists() and _SEALED in _read(record)):
        yield _Part(copy, lambda path: read_sealed(path, dict[str, Any], remedy)[1])


def _folder(remedy: str) -> Callable[[Path], bool]:
    def verify(path: Path) -> bool:
        check_folder(path, (), remedy)
        return True

    return verify


def _verify_bundle(path: Path, record: Path) -> bool:
    """Verify the files, and that they are those with which the run has finished."""
    finished: dict[str, Any] = {}
    with suppress(DamagedFile):  # `_records` names a damaged record
        finished = read_sealed(record, dict[str, Any], "")[0].get("finished") or {}
    check_finished(path, finished, f"To write it again from the snapshots, {_AGAIN}.")
    return True


def _verify_block(path: Path) -> bool:
    if read_block(path) is None:
        raise DamagedFile(f"{path}: damaged. To prepare this block again, {_AGAIN}.")
    return True


def _verify_log(path: Path) -> bool:
    _, damaged, has_checksums = intact_lines(_read(path))
    if damaged:
        raise DamagedFile(
            f"{path}: {damaged:,} damaged lines, which curves and report lack. Training does not need them."
        )
    return has_checksums


def _verify_page(path: Path) -> bool:
    is_intact = page_is_intact(_read(path))
    if is_intact is False:
        raise changed(path, f"To write it again, {_AGAIN}.")
    return bool(is_intact)


def _verify_events(path: Path) -> bool:
    """Verify a file of TensorBoard, whose format has checksums; without TensorBoard, nothing is known."""
    try:
        from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError  # optional
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
    except ImportError:
        return False
    reader = PyRecordReader_New(str(path))
    with suppress(OutOfRangeError):  # at the end
        while True:
            try:
                reader.GetNext()
            except DataLossError as error:
                raise changed(path, "Delete it: log.jsonl has the same numbers.") from error
            except OSError as error:
                raise cannot_read(path, error, "") from error
    return True


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise cannot_read(path, error, "") from error
