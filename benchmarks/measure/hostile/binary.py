"""Changes of binary files that keep their structure: safetensors, SentencePiece models, token ids, ZIP archives."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from allyouneed.data.tokens.sentencepiece_model import Piece, PieceKind, read_model
from benchmarks.measure.hostile.values import changed_bytes, changed_json

_FLOATS = (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 0.0)
_TYPES = ("F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "C64", "F32", "", "X")
_IDS = (-1, -(2**31), 0, 1, 2, 3, 10**3, 10**6, 2**31 - 1)


def changed_tensors(data: bytes, chance: random.Random) -> bytes | None:
    """Change the header or the values of a safetensors file; None for other files."""
    try:
        [size] = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
    except (ValueError, struct.error, RecursionError):
        return None
    values = bytearray(data[8 + size :])
    if not isinstance(header, dict) or not header:
        return None
    kind = chance.random()
    if kind < 0.35:
        _change_value(header, values, chance)
    elif kind < 0.65:
        _change_entry(header, values, chance)
    elif kind < 0.75:
        name, other = chance.choice(list(header)), chance.choice(list(header))
        header[name], header[other] = header[other], header[name]
    text = changed_json(header, chance) if kind >= 0.75 else json.dumps(header).encode()
    size = len(text) if chance.random() < 0.95 else chance.choice((0, 1, 2**31, 2**62, 2**64 - 1))
    return struct.pack("<Q", size) + text + bytes(values)


def _change_value(header: dict[str, Any], values: bytearray, chance: random.Random) -> None:
    """Change a number of a tensor: of floats to one that is not finite or huge, of integers to one out of bounds."""
    entry = header[chance.choice(list(header))]
    start, end = entry.get("data_offsets", (0, 0))
    width, code, numbers = (8, "<q", _IDS) if entry.get("dtype") == "I64" else (4, "<f", _FLOATS)
    if end - start >= width:
        at = start + chance.randrange((end - start) // width) * width
        values[at : at + width] = struct.pack(code, chance.choice(numbers))


def _change_entry(header: dict[str, Any], values: bytearray, chance: random.Random) -> None:
    """Change the type, the shape or the position of a tensor: overlapping, with gaps, negative, huge."""
    entry = header[chance.choice(list(header))]
    kind = chance.randrange(6)
    if kind == 0:
        entry["dtype"] = chance.choice(_TYPES)
    elif kind == 1:
        entry["shape"] = chance.choice(([], [-1], [0], [1] * 70, [2**40], [2**62, 4], entry.get("shape", [])[::-1]))
    elif kind == 2:
        entry["data_offsets"] = header[chance.choice(list(header))].get("data_offsets")
    elif kind == 3:
        shift = chance.choice((-4, 4, 1, 2**40))
        entry["data_offsets"] = [each + shift for each in entry.get("data_offsets", (0, 0))]
    elif kind == 4:
        values += bytes(chance.choice((1, 4, 4096)))
    else:
        length = 4 * chance.choice((1, 10**6, 10**8))
        header["more"] = {"dtype": "F32", "shape": [length // 4], "data_offsets": [len(values), len(values) + length]}
        if length <= 10**7 and chance.random() < 0.5:
            values += bytes(length)


def changed_pieces(data: bytes, chance: random.Random) -> bytes | None:
    """Change the vocabulary of a SentencePiece model; None for other files."""
    try:
        model = read_model(data)
    except ValueError:
        return None
    if not model.pieces:
        return None
    pieces, kind = list(model.pieces), chance.randrange(9)
    row = chance.randrange(min(4, len(pieces))) if chance.random() < 0.5 else chance.randrange(len(pieces))
    if kind == 0:
        pieces.insert(row, pieces[chance.randrange(len(pieces))])
    elif kind == 1:
        del pieces[row]
    elif kind == 2:
        pieces[row] = pieces[row]._replace(score=chance.choice(_FLOATS))
    elif kind == 3:
        pieces[row] = pieces[row]._replace(kind=chance.choice(list(PieceKind)))
    elif kind == 4:
        pieces[row] = pieces[row]._replace(
            text=chance.choice(("", " ", "▁", "a" * 100_000, "\0", "</s>", "<0xFF>", "\n"))
        )
    elif kind == 5:
        other = chance.randrange(len(pieces))
        pieces[row], pieces[other] = pieces[other], pieces[row]
    elif kind == 6:
        del pieces[row : row + chance.choice((4, 100))]
    elif kind == 7:
        pieces += [Piece(f"more {number}", 0.0, PieceKind.NORMAL) for number in range(chance.choice((1, 1000)))]
    else:
        return model.as_bytes()[: chance.randrange(len(data))]
    return replace(model, pieces=pieces).as_bytes()


def changed_ids(data: bytes, chance: random.Random, code: str) -> bytes:
    """Change a number of a file of token ids, or of the offsets of sentences."""
    width = struct.calcsize(code)
    if len(data) < width or chance.random() < 0.2:
        return changed_bytes(data, chance)
    at = chance.randrange(len(data) // width) * width
    number = chance.choice((*_IDS, *((2**40, 2**62) if width == 8 else ())))
    return data[:at] + struct.pack(code, number) + data[at + width :]


def changed_archive(data: bytes, chance: random.Random, changed: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """Change entries of a ZIP archive: content, names, number and packing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # damaged before
        return changed_bytes(data, chance)
    packing = {zipfile.ZIP_STORED}
    row, kind = chance.randrange(len(entries)), chance.random()
    name, content = entries[row]
    if kind < 0.7:
        entries[row] = name, changed(name, content, chance)
    elif kind < 0.75:
        entries[row] = chance.choice(("../x", "/x", "", "a/" * 200, name.upper(), "C:\\x")), content
    elif kind < 0.8:
        entries.pop(row)
    elif kind < 0.85:
        entries.append(chance.choice(entries))
    elif kind < 0.87:
        entries[row] = name, bytes(1 << 27)
        packing = {zipfile.ZIP_DEFLATED}
    else:
        packing = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name or "a"), content, chance.choice(sorted(packing)))
    return file.getvalue() if chance.random() < 0.9 else changed_bytes(file.getvalue(), chance)
