"""Safe reading of PyTorch checkpoints, which are pickles: nothing in them is executed.

A checkpoint is read twice. The first pass builds nothing: it refuses every type that is not on an explicit list, and
every tensor that is larger than the data stored for it. The second is `torch.load(weights_only=True)` with the same
list. Types of other programs, such as a namespace of settings, become `StandIn` objects, which only hold data.
"""

from __future__ import annotations

import math
import pickle
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor
from torch._utils import IMPORT_MAPPING, NAME_MAPPING

from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, open_regular

_MAX_BYTES = 64 * 2**30
_MAX_PICKLE = 256 * 2**20  # of a zip archive, in which the numbers of tensors are separate files
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # how torch.save began files before version 1.6
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, keys of the storages
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_DICTIONARIES = ("collections.OrderedDict", "collections.Counter", "collections.defaultdict")
_OTHERS = ("torch._utils._rebuild_parameter", "torch.Size", "torch.device")
_KNOWN_TO_TORCH = {"collections.OrderedDict", "collections.Counter"}
_BYTES = {1: ("Byte", "Char", "Bool"), 2: ("Half", "BFloat16", "Short"), 4: ("Float", "Int"), 8: ("Double", "Long")}
_STORAGES = {f"torch.{kind}Storage": size for size, kinds in _BYTES.items() for kind in kinds}
_STORAGES |= {"torch.UntypedStorage": 1, "torch.storage.UntypedStorage": 1}
_UNUSED = frozenset(  # instructions that torch.save does not use: sets, and other ways to name a type
    (
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.STACK_GLOBAL, pickle.INST, pickle.OBJ),
        *(pickle.DICT, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEWOBJ_EX),
    )
)
_INSTRUCTIONS: Mapping[int, Callable[..., Any]] = pickle._Unpickler.dispatch
_SCALARS = (str, bytes, int, float, type(None))
_safe_globals_lock = threading.Lock()  # torch's list of allowed types belongs to the process


class StandIn:
    """An object of a type of another program: its constructor's arguments and its state, without its behaviour.

    Attributes:
        kind: Full name of the type, such as "argparse.Namespace".
        arguments: Arguments of the constructor.
        state: Its attributes, or whatever else the type stores.
    """

    kind: ClassVar[str] = ""
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *arguments: Any) -> StandIn:
        """Keep the arguments."""
        created = object.__new__(cls)
        created.arguments = arguments
        return created

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes by name; empty if the type stores something else."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return dict(state) if isinstance(state, Mapping) else {}


def read_checkpoint(path: Path, stand_ins: Collection[str] = ("argparse.Namespace",)) -> Any:
    """Read a PyTorch checkpoint to the CPU, of the current format (zip) or the one before PyTorch 1.6.

    Args:
        path: The file.
        stand_ins: Full names of further types, or patterns such as "fairseq.*"; objects of them become `StandIn`.

    Returns:
        What the file contains: tensors, numbers, texts, dictionaries, lists and stand-ins.

    Raises:
        UserError: If the file cannot be read, is damaged, is too large, or contains another type.
    """
    try:
        found = _check(path, stand_ins)
    except UserError:
        raise
    except OSError as error:
        raise cannot_read(path, error, "Get the file again.") from error
    except Exception as error:  # whatever nonsense makes pickle or zipfile raise
        raise _damaged(path) from error
    kinds: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_stand_in(name), name) for name in found]
    try:
        with _safe_globals_lock, torch.serialization.safe_globals(kinds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _damaged(path) from error


def read_weights(path: Path, tensors: object) -> dict[str, Tensor]:
    """Check that a part of a checkpoint is a dictionary of dense tensors by name, and return it.

    Raises:
        UserError: If it is something else.
    """
    if not isinstance(tensors, Mapping) or not tensors:
        raise UserError(f"{path}: has no weights. Give the checkpoint of a model.")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise UserError(f"{path}: {str(name)[:80]!r} is not a dense tensor. Give the checkpoint of a model.")
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: damaged, or not a PyTorch checkpoint. Get the file again.")


def _stand_in(name: str) -> Callable[..., Any]:
    if name in _DICTIONARIES:  # a plain dictionary: its function for missing keys is dropped
        return lambda *arguments: OrderedDict(*arguments[1:])
    return type("StandIn", (StandIn,), {"kind": name})


def _check(path: Path, stand_ins: Collection[str]) -> list[str]:
    """Read the pickles of a checkpoint without building anything, and return the names that need stand-ins."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise UserError(f"{path}: larger than {_MAX_BYTES // 2**30} GB. Give the checkpoint of a translation model.")
    with open_regular(path) as file:
        start = file.read(len(_LEGACY))
        file.seek(0)
        if start == _LEGACY:
            reader = _Checker(file, path, stand_ins, None, size)
            for _ in range(_LEGACY_PICKLES):
                reader.load()
            return sorted(reader.found)
        if not start.startswith(b"PK\x03\x04"):
            raise UserError(f"{path}: not a PyTorch checkpoint. Give the file that torch.save wrote, such as model.pt.")
        with zipfile.ZipFile(file) as archive:
            return _check_archive(archive, path, stand_ins, size)


def _check_archive(archive: zipfile.ZipFile, path: Path, stand_ins: Collection[str], size: int) -> list[str]:
    members = archive.infolist()
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    pickles = [member for member in members if member.filename.endswith("/data.pkl")]
    names = {member.filename for member in members}
    if any("constants.pkl" in name or "/code/" in name for name in names):
        raise UserError(f"{path}: a TorchScript program, which is code. Give the checkpoint it was made from.")
    if compressed or len(names) < len(members) or sum(member.file_size for member in members) > size:
        raise UserError(f"{path}: not written by torch.save: its parts are compressed or overlap. Get the file again.")
    if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE:
        raise _damaged(path)
    prefix = pickles[0].filename.removesuffix("data.pkl") + "data/"
    sizes = {m.filename.removeprefix(prefix): m.file_size for m in members if m.filename.startswith(prefix)}
    with archive.open(pickles[0]) as content:
        reader = _Checker(content, path, stand_ins, sizes, size)
        reader.load()
    return sorted(reader.found)


class _Nothing:
    """What the first pass builds in place of an object of another type."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Items(_Nothing):
    """What the first pass builds in place of a dictionary of a type of its own."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


class _Sealed:
    """What the first pass builds in place of a tensor, which must not get another state."""

    def __init__(self, *_: Any):
        pass


class _Storage(int):
    """What the first pass builds in place of the data of tensors: its number of elements."""


class _Checker(pickle._Unpickler):
    """The first pass: checks types and sizes. It is Python's slower unpickler, whose memory a file cannot inflate.

    Args:
        file: Pickles, one after another.
        path: Path for error messages.
        stand_ins: Names and patterns of allowed types.
        sizes: Bytes of each storage; None if they follow the pickles.
        total: Size of the file.
    """

    def __init__(
        self, file: IO[bytes], path: Path, stand_ins: Collection[str], sizes: Mapping[str, int] | None, total: int
    ):
        super().__init__(file, encoding="bytes")
        self.path, self.stand_ins, self.sizes, self.total = path, stand_ins, sizes, total
        self.found: set[str] = set()
        self.claimed: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless class, function or text for an allowed type."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))  # Python 2's names
        full = f"{module}.{name}"
        if full in _TENSORS:
            return self._tensor
        if full in _DICTIONARIES:
            self.found |= {full} - _KNOWN_TO_TORCH
            return self._dictionary
        if full == "_codecs.encode":
            return self._encoded
        if full in _OTHERS:
            return _Sealed
        if full in _STORAGES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return full
        if any(fnmatchcase(full, pattern) for pattern in self.stand_ins):
            self.found.add(full)
            return _Nothing
        raise UserError(
            f"{self.path}: contains {full[:80]!r}, which is not data of a model and could execute code; nothing was "
            "loaded. Save only the model's weights and settings with torch.save."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Check that a storage has as many bytes as it claims."""
        _, kind, key, _, count, *_ = pid
        key = key.decode() if isinstance(key, bytes) else key
        if kind not in _STORAGES or not isinstance(count, int) or not isinstance(key, str) or count < 0:
            raise _damaged(self.path)
        needed = count * _STORAGES[kind]
        self.claimed[key] = max(needed, self.claimed.get(key, 0))
        if sum(self.claimed.values()) > self.total if self.sizes is None else needed > self.sizes.get(key, 0):
            raise _damaged(self.path)
        return _Storage(count)

    def _tensor(self, storage: object, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> _Sealed:
        """Check that a tensor lies within its storage and does not repeat its elements."""
        whole = all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride))
        if not whole or not isinstance(storage, _Storage) or len(size) != len(stride) or math.prod(size) > storage:
            raise _damaged(self.path)
        if math.prod(size) and offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= storage:
            raise _damaged(self.path)
        return _Sealed()

    def _dictionary(self, *arguments: Any) -> _Nothing:
        for items in arguments:
            if isinstance(items, list | tuple):
                self._check_keys(key for key, _ in items)
            elif not isinstance(items, dict | _Nothing | type | None):
                raise _damaged(self.path)
        return _Items()

    def _encoded(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
            raise _damaged(self.path)
        return b""

    def _check_keys(self, keys: Iterable[object]) -> None:
        """Refuse nested keys: computing the hash of a million nested tuples crashes Python."""
        for key in keys:
            flat = key if isinstance(key, tuple) else (key,)
            if not all(isinstance(item, _SCALARS) for item in flat):
                raise _damaged(self.path)

    def _set_item(self) -> None:
        self._check_keys(self.stack[-2:-1])
        _INSTRUCTIONS[pickle.SETITEM[0]](self)

    def _set_items(self) -> None:
        self._check_keys(self.stack[::2])
        _INSTRUCTIONS[pickle.SETITEMS[0]](self)

    stack: list[Any]  # of `_Unpickler`, since the last mark
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {
        **{code: load for code, load in _INSTRUCTIONS.items() if bytes([code]) not in _UNUSED},
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
    }
