"""Tests of what kernels need of Numba, LLVM and OpenMP, in a process of its own, since a failure may be a crash.

The process prints the name of each capability before testing it, and PASSED at the end, or what failed. Then it
compiles the kernels that its command names. Numba's documented interface does not cover these parts, so that any
release may change them: functions are linked before they are optimised (`compiler.py`), vectors and pointers are LLVM
code (`lanes.py`, `records.py`), and kernels are stored on disk and started on PyTorch's threads by classes and
functions of `launch.py`.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from allyouneed.kernels import capabilities
from allyouneed.kernels.capabilities import AMX, BF16, BYTES, COMPILE, IMPORT, PASSED, STORE, THREADS

_MODULES = ("attention", "launch", "target")
_SEQUENCES, _LENGTH, _HEADS, _WIDTH = 8, 5, 2, 32


class WrongResult(Exception):
    """A kernel has computed something else than PyTorch or NumPy."""


def main() -> None:
    """Test the capability that is the first argument, or if it is empty, all that every kernel needs.

    After a failure, the process ends with an exit code other than 0, or by a signal.
    """
    capability, *kernels = sys.argv[1:] or [""]
    capabilities.assume()
    try:
        begin(IMPORT)
        modules = {name: import_module(f"{__package__}.{name}") for name in _MODULES}
        if not capability:
            _test_kernels(modules["attention"], modules["launch"])
        elif capability == BYTES and modules["target"].has_vnni():
            _test_bytes()
        elif capability == BF16 and modules["target"].has_bf16():
            _test_bf16()
        elif capability == AMX and modules["target"].has_amx():
            _test_amx()
        print(PASSED, flush=True)
    except Exception as error:  # any, since they come from inside Numba
        reason = next(iter(str(error).strip().splitlines()), "")
        print(f"{type(error).__name__}: {reason}", flush=True)
        raise
    if kernels:
        import_module(f"{__package__}.precompile").compile_named(kernels)


def begin(capability: str) -> None:
    """Announce what is tested next; after a crash, it is the last line of the output."""
    print(capability, flush=True)


def check(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Compare results.

    Raises:
        WrongResult: If they differ by more than the tolerance.
    """
    difference = float(abs(found - expected).max())
    if not difference < tolerance:  # also if it is NaN
        raise WrongResult(f"a result is wrong by {difference:.1e}")


def _test_kernels(attention: ModuleType, launch: ModuleType) -> None:
    begin(COMPILE)
    inputs = np.random.default_rng(1).standard_normal((3, _SEQUENCES * _LENGTH, _WIDTH), np.float32)
    with launch.threads(1):
        result = _attend(attention, inputs)
        check(result, _expected_attention(inputs))
        kernel = launch._find(f"{attention.__name__}._attend")
        if kernel.code.is_stored:  # a full disk is no reason not to use kernels
            begin(STORE)
            kernel._code = None
            if not kernel.load():
                raise WrongResult("the kernel is not found")
            check(_attend(attention, inputs), result)
    begin(THREADS)
    _load_openmp()
    with launch.threads(2):
        check(_attend(attention, inputs), result)


def _load_openmp() -> None:
    """Load the OpenMP library that is installed with PyTorch, or else PyTorch, which loads that of the system."""
    torch = PathFinder.find_spec("torch")
    packages = Path(torch.origin).resolve().parents[1] if torch and torch.origin else Path()
    libraries = [*packages.glob("torch/lib/libgomp*"), *packages.glob("torch.libs/libgomp*")]
    for library in libraries:
        ctypes.CDLL(str(library))
    if not libraries:
        import_module("torch").get_num_threads()


def _attend(attention: ModuleType, inputs: np.ndarray) -> np.ndarray:
    """Compute attention in sequences of equal lengths: vectors, records, pointers and linked functions."""
    starts = np.arange(0, _SEQUENCES * _LENGTH + 1, _LENGTH)
    queries, keys, values = inputs
    strides = dict.fromkeys(("query_stride", "key_stride", "value_stride"), _WIDTH)
    d_k = _WIDTH // _HEADS
    sides = attention.Inputs(
        queries=queries,
        keys=keys,
        values=values,
        **strides,
        heads=_HEADS,
        d_k=d_k,
        d_v=d_k,
        scale=1 / math.sqrt(d_k),
        causal=1,
        max_keys=attention.pad_to_lanes(_LENGTH),
        part_heads=_HEADS,
    )
    scratch = np.empty((_SEQUENCES, (d_k + attention.ROWS) * sides.max_keys), np.float32)
    result, log_normalisers = np.empty_like(queries), np.empty((len(queries), _HEADS), np.float32)
    # The address, since the conversion of a record loads PyTorch.
    attention._attend(_SEQUENCES, sides.address, _SEQUENCES, 1, starts, starts, scratch, result, log_normalisers)
    return result


def _expected_attention(inputs: np.ndarray) -> np.ndarray:
    queries, keys, values = inputs.reshape(3, _SEQUENCES, _LENGTH, _HEADS, -1).transpose(0, 1, 3, 2, 4)
    scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(_WIDTH // _HEADS)
    weights = np.tril(np.exp(scores))
    mixed: np.ndarray = weights / weights.sum(-1, keepdims=True) @ values
    return mixed.transpose(0, 2, 1, 3).reshape(-1, _WIDTH)


def _test_bytes() -> None:
    begin(BYTES)
    product, packed_matrix = (import_module(f"{__package__}.{name}") for name in ("product", "packed_matrix"))
    rows, weight, bias = _factors(depth=64)
    matrix = packed_matrix.pack(weight, bias, in_bytes=True)
    for in_tiles in {False, matrix.in_tiles}:
        found = product.multiply_packed(rows, matrix.replace(in_tiles=in_tiles))
        check(found, rows @ weight.T + bias, 0.5)
    matrix = packed_matrix.pack_fastest(weight, bias)
    for count in {1, len(rows)}:
        check(product.multiply_packed(rows[:count], matrix), rows[:count] @ weight.T + bias, 1e-3)


def _test_bf16() -> None:
    begin(BF16)
    _check_products(import_module(f"{__package__}.matmul").multiply)


def _test_amx() -> None:
    begin(AMX)
    if import_module(f"{__package__}.amx").request():  # otherwise it is not used
        _check_products(import_module(f"{__package__}.matmul_amx").multiply)


def _check_products(multiply: Callable[..., None]) -> None:
    """Check bf16 products of matrices in each order in memory."""
    rows, weight, bias = _factors()
    expected = rows @ weight.T + bias
    for left in (rows, rows.T.contiguous().T):
        for right in (weight.T, weight.T.contiguous()):
            out = expected * math.nan
            multiply(left, right, bias, 0, out)
            check(out, expected, 0.2)


def _factors(depth: int = _WIDTH) -> tuple[Any, Any, Any]:
    torch = import_module("torch")
    return torch.randn(16, depth), torch.randn(48, depth), torch.randn(48)
