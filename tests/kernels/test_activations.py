"""Activations in compiled code, compared with PyTorch in fp64."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels.activations import ACTIVATIONS, Activation, activate
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats

EXPECTED = {
    "swish": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "gelu_sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
}


@kernel
def _activate(part, x: Floats, count, activation: Activation):
    activate(x, count, activation)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_equal_pytorchs(name):
    x = torch.cat([torch.linspace(-12, 12, 20_000), torch.linspace(-300, 300, 992), torch.logspace(-30, 18, 16)])
    expected, found = EXPECTED[name](x.double()), x.clone()
    _activate(1, found, len(x), ACTIVATIONS[name])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_special_values(name):
    x = torch.zeros(16)
    x[1], x[2], x[3] = torch.nan, torch.inf, -0.0
    _activate(1, x, 16, ACTIVATIONS[name])
    assert x[0] == x[3] == 0
    assert x[1].isnan()
    assert not torch.isfinite(x[2])
