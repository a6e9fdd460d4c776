"""A test of what kernels need of Numba, LLVM and OpenMP, in a process of its own, since a failure may be a crash.

`python -m allyouneed.kernels.self_test` prints the name of each capability before testing it, and PASSED at the end.
Numba's documented interface does not cover these parts, so that any release may change them: functions are linked
before they are optimised (`compiler.py`), vectors and pointers are LLVM code (`lanes.py`, `records.py`), and kernels
are stored on disk and started on PyTorch's threads by classes and functions of `launch.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from allyouneed.kernels.capabilities import BF16, BYTES, COMPILE, IMPORT, PASSED, STORE, THREADS

_MODULES = ("attention", "launch", "matmul", "product", "target")
_SEQUENCES, _LENGTH, _WIDTH = 8, 5, 32


class WrongResult(Exception):
    """A kernel has computed something else than PyTorch."""


def main() -> None:
    """Test every capability; after a failure, the process ends with an exit code other than 0, or by a signal."""
    torch.set_num_threads(1)
    begin(IMPORT)
    attention, launch, matmul, product, target = (import_module(f"{__package__}.{name}") for name in _MODULES)
    inputs = torch.randn(3, _SEQUENCES * _LENGTH, _WIDTH)
    begin(COMPILE)
    result = _attend(attention, inputs)
    check(result, _expected_attention(inputs))
    rows, weight, bias = torch.randn(5, _WIDTH), torch.randn(48, _WIDTH), torch.randn(48)
    if target.has_vnni():
        begin(BYTES)
        check(product.multiply_packed(rows, product.pack(weight, bias, in_bytes=True)), rows @ weight.T + bias, 0.5)
    if target.has_bf16():
        begin(BF16)
        check(matmul.matmul(rows, weight.T, bias, bf16=True), rows @ weight.T + bias, 0.2)
    if launch.disk_cache.folder() is not None:
        begin(STORE)
        kernel = launch._find(f"{attention.__name__}._attend")
        kernel._code = None
        if not kernel.load():
            raise WrongResult("the kernel is not found")
        check(_attend(attention, inputs), result)
    begin(THREADS)
    torch.set_num_threads(2)
    check(_attend(attention, inputs), result)
    print(PASSED, flush=True)


def begin(capability: str) -> None:
    """Announce what is tested next; after a crash, it is the last line of the output."""
    print(capability, flush=True)


def check(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare results.

    Raises:
        WrongResult: If they differ by more than the tolerance.
    """
    difference = (found - expected).abs().max().item()
    if not difference < tolerance:  # also if it is NaN
        raise WrongResult(f"a result is wrong by {difference:.1e}")


def _attend(attention: Any, inputs: Tensor) -> Tensor:
    """Compute attention in sequences of equal lengths: vectors, records, pointers and linked functions."""
    starts = torch.arange(0, _SEQUENCES * _LENGTH + 1, _LENGTH)
    result: Tensor = attention.attend(*inputs, 2, attention.Layout(starts, starts, _LENGTH, True))[0]
    return result


def _expected_attention(inputs: Tensor) -> Tensor:
    queries, keys, values = (each.view(_SEQUENCES, _LENGTH, 2, -1).transpose(1, 2) for each in inputs)
    return scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).reshape(-1, _WIDTH)


if __name__ == "__main__":
    main()
