"""Changes of the files of a folder: of their kind and of their content."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path

from allyouneed.files import MANIFEST, sha256
from benchmarks.measure.hostile.binary import changed_archive, changed_ids, changed_pieces, changed_tensors
from benchmarks.measure.hostile.values import (
    changed_bytes,
    changed_json,
    changed_json_lines,
    changed_lines,
    json_of,
    replaced,
)
from tests.fuzz.mutations import mutated

_LARGEST = 1 << 24  # bytes of a file whose content is changed
_MARKUP = (".tbx", ".tmx", ".tsv", ".csv")
_IDS = {".ids": "<i", ".offsets": "<q"}


def mutate(folder: Path, part: str, turn: int, chance: random.Random) -> None:
    """Change files of a sample.

    Args:
        folder: A copy of the sample.
        part: The part of the folder whose files are changed; empty for all.
        turn: Number of the case: every second one replaces one value of one JSON file, each value in turn.
        chance: Determines the other changes.
    """
    files = sorted(path for path in (folder / part).rglob("*") if path.is_file() and _is_changed(path))
    documents = [path for path in files if path.stat().st_size < _LARGEST and json_of(path.read_bytes()) is not None]
    if turn % 2 and documents:
        path = documents[turn // 2 % len(documents)]
        path.write_bytes(replaced(json_of(path.read_bytes()), turn // 2 // len(documents)))
    else:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            path = chance.choice(files)
            change = _change_kind if chance.random() < 0.08 else _change_content
            change(path, chance)
    for manifest in (folder / part).rglob(MANIFEST):
        if chance.random() < 0.97:
            restore_checksums(manifest)
        else:
            _change_content(manifest, chance)


def _is_changed(path: Path) -> bool:
    return path.suffix not in (".md", ".html") and path.name not in (MANIFEST, ".lock")


def restore_checksums(manifest: Path) -> None:
    """Make checksums those of the changed files, so that more than the check of the checksums sees them."""
    folder, sums = manifest.parent, {}
    for path in folder.iterdir():
        if path.is_file() and path.name != MANIFEST and not path.is_symlink():
            with suppress(OSError):
                sums[path.name] = sha256(path)
    manifest.write_text(json.dumps({"sha256": sums}))


def _change_kind(path: Path, chance: random.Random) -> None:
    """Replace a file by something else."""
    if path.is_dir():  # since an earlier change
        return
    path.unlink(missing_ok=True)
    kind = chance.randrange(8)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to("/dev/zero")
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        with open(path, "wb") as file:
            file.truncate(chance.choice((1 << 28, 1 << 36)))  # sparse
    elif kind == 6:
        path.write_bytes(chance.randbytes(chance.choice((1, 10, 1000, 100_000))))


def _change_content(path: Path, chance: random.Random) -> None:
    if path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST:
        path.write_bytes(changed(path.name, path.read_bytes(), chance))


def changed(name: str, data: bytes, chance: random.Random) -> bytes:
    """Change the content of a file, mostly so that its structure is kept."""
    suffix = Path(name).suffix
    if suffix in _IDS:
        return changed_ids(data, chance, _IDS[suffix])
    if suffix in _MARKUP and chance.random() < 0.9:
        return mutated(data, [], chance)
    if data.startswith(b"PK\x03\x04") and chance.random() < 0.8:
        return changed_archive(data, chance, changed)
    if chance.random() < 0.85:
        if (content := json_of(data)) is not None:
            return changed_json(content, chance)
        for change in (changed_tensors, changed_pieces, changed_json_lines, changed_lines):
            if (found := change(data, chance)) is not None:
                return found
    return changed_bytes(data, chance)
