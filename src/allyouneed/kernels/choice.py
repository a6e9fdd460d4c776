"""Whether our own fp32 products or PyTorch's are faster on this processor, and whether bf16 products use AMX.

The former is measured once for each width, which takes about a tenth of a second, and stored beside the compiled
kernels, under the processor's name. A training run stores what it uses (`training/products.py`), since products round
differently.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from allyouneed import kernels
from allyouneed.kernels import disk_cache

WIDTHS = (256, 512)  # measured widths, each valid up to the next; in narrower layers, packing costs what it saves
_ROWS, _REPEATS = 512, 5
_FASTER = 1.02  # smallest speed-up for which our own products are used

_speedups: dict[int, float] = {}  # by width: time of PyTorch's products relative to ours
_amx: bool | None = None  # as adopted
_measuring = threading.Lock()


def is_faster(width: int) -> bool:
    """Return whether our own products are faster for layers whose smaller side has this width."""
    measured = max((each for each in WIDTHS if each <= width), default=None)
    if measured is None:
        return False
    if measured not in _speedups:
        speedups()
    return _speedups[measured] >= _FASTER


def speedups() -> dict[int, float]:
    """Return the speed-up of our own products by width: as adopted, as stored for this processor, or measured now."""
    with _measuring:
        if not _speedups:
            _speedups.update(_stored(file := _file()) or _measured(file))
        return dict(_speedups)


def adopt(found: Mapping[int, float]) -> None:
    """Use these speed-ups in this process, instead of those that are stored for this processor."""
    if found.keys() != set(WIDTHS):
        raise ValueError(f"speed-ups for the widths {sorted(found)} instead of {WIDTHS}")
    with _measuring:
        _speedups.update(found)


def uses_amx() -> bool:
    """Return whether bf16 products use AMX: as adopted, or wherever it works."""
    return kernels.has_amx() if _amx is None else _amx


def adopt_amx(is_used: bool) -> None:
    """Use AMX in this process or not, whether or not it works."""
    global _amx
    _amx = is_used


def _stored(file: Path | None) -> dict[int, float] | None:
    """Read a stored measurement; None if there is none, or not in this format."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        content = json.loads(file.read_text("utf-8")) if file else {}
        speedups = {int(width): float(value) for width, value in content.items()}
        if speedups.keys() == set(WIDTHS):
            return speedups
    return None


def _measured(file: Path | None) -> dict[int, float]:
    """Measure all widths and store the result; if another process has stored one meanwhile, return that."""
    found = {width: round(measure(width), 3) for width in WIDTHS}
    if file is None:
        return found
    if stored := _stored(file):
        return stored
    own = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        own.write_text(json.dumps(found), "utf-8")
        own.replace(file)
    return found


def measure(width: int) -> float:
    """Measure the three products of a layer from `width` to twice the width, and return our speed-up."""
    x, weight, grad = (
        torch.linspace(-1, 1, rows * columns).view(rows, columns)
        for rows, columns in ((_ROWS, width), (2 * width, width), (_ROWS, 2 * width))
    )
    y, grad_x, grad_weight = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(weight)

    def seconds(product: Callable[..., object]) -> float:
        started = time.perf_counter()
        product(x, weight.T, out=y)
        product(grad, weight, out=grad_x)
        product(grad.T, x, out=grad_weight)
        return time.perf_counter() - started

    products = (torch.mm, kernels.matmul.matmul)
    times = [[seconds(product) for product in products] for _ in range(1 + _REPEATS)]
    theirs, ours = (min(column) for column in zip(*times[1:], strict=True))  # the first call compiles
    return theirs / ours


def _file() -> Path | None:
    """Return the file of this processor, PyTorch and our sources; None if no folder can be written."""
    folder = disk_cache.folder()
    name = re.sub(r"\W+", "-", disk_cache.processor_name())
    sources = disk_cache.sources_hash(Path(__file__).with_name("matmul.py"))
    return folder and folder / f"products-{name}-{torch.__version__}-{sources}.json"
