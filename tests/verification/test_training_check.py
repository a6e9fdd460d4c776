"""Labels and weights read from gradients; losses and training steps with known mistakes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import allyouneed
from allyouneed import UserError
from allyouneed.verification.training_check import read_gradient
from tests.verification.tutorial import TutorialTransformer


def right(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=0, label_smoothing=0.1)


def padding_counts(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def averaged_over_padding(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0, reduction="none").mean()


def failed(**options: object) -> set[str]:
    torch.manual_seed(0)
    names = {finding.name for finding in allyouneed.verify(TutorialTransformer(), **options).of("failed")}
    assert names <= {"loss padding", "loss average", "target shift"}
    return names


def test_losses():
    assert failed(loss=right) == set()
    assert failed(loss=nn.CrossEntropyLoss(ignore_index=0)) == set()
    assert failed(loss=padding_counts) == {"loss padding"}
    assert failed(loss=averaged_over_padding) == {"loss average"}


def step_right(module: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    return right(module(source, target[:, :-1]), target[:, 1:])


def step_not_shifted(module: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    return right(module(source, target), target)


def step_of_logits_only(module: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    return right(module(source, target)[:, :-1], target[:, 1:])


def step_with_padding(module: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    return padding_counts(module(source, target[:, :-1]), target[:, 1:])


def test_steps():
    assert failed(step=step_right) == set()
    assert failed(step=step_of_logits_only) == set()
    assert failed(step=step_not_shifted) == {"target shift"}
    assert failed(step=step_with_padding) == {"loss padding"}


def test_unusable_functions_are_user_errors():
    model = TutorialTransformer()
    with pytest.raises(UserError, match=r"cannot call the loss with logits and labels\. Tried whole: TypeError"):
        allyouneed.verify(model, loss=lambda logits: logits.sum())
    with pytest.raises(UserError, match="the training step failed: ZeroDivisionError"):
        allyouneed.verify(model, step=lambda module, source, target: 1 / 0)
    with pytest.raises(UserError, match="does not depend on logits"):
        allyouneed.verify(model, step=lambda module, source, target: module.fc_out.weight.sum())


def test_labels_and_weights_from_a_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(11, (2, 4), generator=generator)
    expected = torch.rand(2, 4, generator=generator, dtype=torch.float64)
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none", label_smoothing=0.1)
    (losses * expected).sum().backward()
    read = read_gradient(logits.detach(), logits.grad)
    assert torch.equal(read.labels, labels)
    torch.testing.assert_close(read.weights, expected)
