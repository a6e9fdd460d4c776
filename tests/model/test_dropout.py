"""The cheap masks must have the statistics of true ones."""

import pytest
import torch

from allyouneed.model.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_rate_and_mean(p):
    torch.manual_seed(0)
    mask = Dropout(p)(torch.ones(1000, 1000))
    deviation = (p * (1 - p) / 1e6) ** 0.5
    assert (mask == 0).float().mean().item() == pytest.approx(p, abs=5 * deviation)
    assert mask.max() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert mask.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - p))


def test_neighbours_and_successive_masks_are_independent():
    torch.manual_seed(0)
    first, second = ((keep_mask(torch.Size([1_000_000]), 2**15) > 0).float() - 0.5 for _ in range(2))
    bound = 5 * 0.25 / 1000  # five standard deviations of the mean of a million products
    for lag in (1, 2, 3, 4, 5, 128):
        assert abs((first[lag:] * first[:-lag]).mean()) < bound
    assert abs((first * second).mean()) < bound


def test_same_seed_same_mask_and_odd_sizes():
    masks = []
    for _ in range(2):
        torch.manual_seed(7)
        masks.append(keep_mask(torch.Size([3, 5]), 2**14))
    assert torch.equal(*masks)


def test_gradient_passes_where_kept():
    x = torch.ones(64, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_off_in_evaluation():
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
