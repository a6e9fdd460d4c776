"""Adam: the same as PyTorch's class, bit for bit, without loading torch.compile."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from allyouneed.training.optimizer import AdamW


def moved(weights, gradients, make):
    """Return copies of the weights after updates with the gradients; a missing gradient is None."""
    parameters = [torch.nn.Parameter(weight.clone()) for weight in weights]
    optimizer = make(parameters)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer.param_groups[0]["lr"] *= 0.9
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_updates_are_those_of_pytorch(fused, decay):
    torch.manual_seed(1)
    weights = [torch.randn(3, 5), torch.randn(7), torch.randn(2, 2)]
    gradients = [[torch.randn_like(weight) for weight in weights] for _ in range(4)]
    gradients[1][2] = None
    gradients[2][0] = torch.zeros(3, 5)
    betas, epsilon = (0.9, 0.98), 1e-9
    ours, optimizer = moved(weights, gradients, lambda p: AdamW(p, 0.01, betas, epsilon, decay, fused))
    theirs, reference = moved(
        weights,
        gradients,
        lambda p: torch.optim.AdamW(p, 0.01, betas, epsilon, decay, fused=fused),
    )
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own, other)
        assert optimizer.state[own].keys() == reference.state[other].keys()
        assert all(torch.equal(optimizer.state[own][name], value) for name, value in reference.state[other].items())


def test_making_an_optimizer_does_not_load_torch_compile():
    code = """
import sys, torch
from allyouneed.training.optimizer import AdamW, Muon
parameters = [torch.nn.Parameter(torch.ones(4, 4))]
for optimizer in (AdamW(parameters, 0.1, (0.9, 0.98), 1e-9, 0.0, True), Muon(parameters)):
    parameters[0].grad = torch.ones(4, 4)
    optimizer.step()
    optimizer.clear_gradients()
assert parameters[0].grad is None
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
