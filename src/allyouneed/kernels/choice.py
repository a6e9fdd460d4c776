"""Which products are faster on this processor: our own in fp32 or PyTorch's, bf16 or fp32; and whether bf16 uses AMX.

The speed is measured once, which takes about a tenth of a second, and stored beside the compiled kernels, under the
processor's name. A training run stores what it uses (`training/products.py`), since products round differently.
Products by AMX are used without measuring; those by AVX512_BF16 are faster than fp32 on some processors only.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from allyouneed import kernels
from allyouneed.kernels import disk_cache

if TYPE_CHECKING:
    from torch import Tensor  # not loaded here, since processes that compile do without PyTorch

WIDTHS = (256, 512)  # measured widths, each valid up to the next; in narrower layers, packing costs what it saves
_BF16_WIDTH = 256
_ROWS, _REPEATS = 512, 5
_FASTER = 1.02  # smallest speed-up for which our own products, or bf16, are used

_speedups: dict[int, float] = {}  # by width: time of PyTorch's products relative to ours
_bf16_speedup: float | None = None  # of products by AVX512_BF16
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
            _speedups.update(_found(_file(), WIDTHS, measure))
        return dict(_speedups)


def adopt(found: Mapping[int, float]) -> None:
    """Use these speed-ups in this process, instead of those that are stored for this processor."""
    if found.keys() != set(WIDTHS):
        raise ValueError(f"speed-ups for the widths {sorted(found)} instead of {WIDTHS}")
    with _measuring:
        _speedups.update(found)


def bf16_is_faster() -> bool:
    """Return whether bf16 products are faster than fp32 ones: those by AMX are, others as adopted or measured."""
    return uses_amx() or bf16_speedup() >= _FASTER


def bf16_speedup() -> float:
    """Return the speed-up of bf16 products by AVX512_BF16, compared with the faster ones in fp32; see `speedups`."""
    global _bf16_speedup
    with _measuring:
        if _bf16_speedup is None:
            found = _found(_file("bf16-products"), (_BF16_WIDTH,), partial(measure, bf16=True))
            _bf16_speedup = found[_BF16_WIDTH]
        return _bf16_speedup


def adopt_bf16(speedup: float | None) -> None:
    """Use this speed-up of bf16 products by AVX512_BF16 in this process; None: that of this processor."""
    global _bf16_speedup
    with _measuring:
        _bf16_speedup = speedup


def uses_amx() -> bool:
    """Return whether bf16 products use AMX: as adopted, or wherever it works."""
    return kernels.has_amx() if _amx is None else _amx


def adopt_amx(is_used: bool) -> None:
    """Use AMX in this process or not, whether or not it works."""
    global _amx
    _amx = is_used


def _found(file: Path | None, widths: Sequence[int], measure: Callable[[int], float]) -> dict[int, float]:
    """Return the speed-ups for these widths that a file has; or measure and store them."""
    if stored := _stored(file, widths):
        return stored
    found = {width: round(measure(width), 3) for width in widths}
    if file is None:
        return found
    if stored := _stored(file, widths):  # by another process meanwhile
        return stored
    own = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        own.write_text(json.dumps(found), "utf-8")
        own.replace(file)
    return found


def _stored(file: Path | None, widths: Sequence[int]) -> dict[int, float] | None:
    """Read a stored measurement; None if there is none, or not in this format."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        content = json.loads(file.read_text("utf-8")) if file else {}
        speedups = {int(width): float(value) for width, value in content.items()}
        if speedups.keys() == set(widths):
            return speedups
    return None


def measure(width: int, bf16: bool = False) -> float:
    """Measure the three products of a layer from `width` to twice the width.

    Args:
        width: Width of the layer's input.
        bf16: Whether to measure bf16 products without AMX.

    Returns:
        The speed-up of our own fp32 products relative to PyTorch's, or that of bf16 relative to the faster of both.
    """
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

    def in_bf16(a: Tensor, b: Tensor, out: Tensor) -> None:
        kernels.matmul.multiply(a, b, None, kernels.Mode.SET, out)

    products: list[Callable[..., object]] = [torch.mm, kernels.matmul.matmul, *([in_bf16] if bf16 else [])]
    with _on_one_thread() if bf16 else nullcontext():
        times = [[seconds(product) for product in products] for _ in range(1 + _REPEATS)]
    *others, ours = (min(column) for column in zip(*times[1:], strict=True))  # the first call compiles
    return min(others) / ours


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """Compute on one thread, so that a busy machine, which delays the slowest thread, does not decide."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _file(products: str = "products") -> Path | None:
    """Return the file of this processor, PyTorch and our sources; None if no folder can be written."""
    folder = disk_cache.folder()
    name = re.sub(r"\W+", "-", disk_cache.processor_name())
    sources = disk_cache.sources_hash(Path(__file__).with_name("matmul.py"))
    return folder and folder / f"{products}-{name}-{torch.__version__}-{sources}.json"
