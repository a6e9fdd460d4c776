"""Statistics of the hashed dropout masks. Bounds are five standard deviations."""

import pytest
import torch

from allyouneed.model.dropout import Dropout

SIZE = 1_000_000


def mask(p: float = 0.5, plain: bool = False, shape: tuple[int, ...] = (SIZE // 16, 16)) -> torch.Tensor:
    return Dropout(p, plain)(torch.ones(shape))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_rate_and_mean(p, plain):
    torch.manual_seed(0)
    found = mask(p, plain)
    deviation = (p * (1 - p) / SIZE) ** 0.5
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=5 * deviation)
    assert found.max() == pytest.approx(1 / (1 - p), rel=1e-6)
    assert found.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - p))


def test_rate_of_every_column_and_row():
    torch.manual_seed(0)
    kept = (mask(0.3, shape=(1000, 1024)) > 0).float() - 0.7
    deviation = (0.3 * 0.7) ** 0.5
    assert kept.mean(0).abs().max() < 5.5 * deviation / 1000**0.5
    assert kept.mean(1).abs().max() < 5.5 * deviation / 1024**0.5
    # the variance of row sums is that of independent elements
    assert kept.sum(1).var().item() == pytest.approx(1024 * 0.21, rel=5 * (2 / 1000) ** 0.5)


def test_elements_calls_and_steps_are_independent():
    """Check correlations of a mask with its shifted copy, the next call (layer) and the next seed (step)."""
    torch.manual_seed(0)
    first, second = ((mask() > 0).float().flatten() - 0.5 for _ in range(2))
    torch.manual_seed(1)
    next_step = (mask() > 0).float().flatten() - 0.5
    bound = 5 * 0.25 / SIZE**0.5
    for lag in (1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 128, 256, 512, 2048, 32768, 65536):
        assert abs((first[lag:] * first[:-lag]).mean()) < bound
    assert abs((first * second).mean()) < bound
    assert abs((first * next_step).mean()) < bound


def test_pairs_of_neighbours_are_uniform():
    torch.manual_seed(0)
    kept = (mask() > 0).long().flatten()
    count = torch.bincount(kept[::2] * 2 + kept[1::2], minlength=4).double()
    expected = SIZE / 2 / 4
    assert ((count - expected) ** 2 / expected).sum() < 21.1  # chi-squared, 3 degrees of freedom, p = 0.0001


def test_masks_of_similar_keys_are_independent():
    """Masks of keys that differ in a single low or high bit are uncorrelated."""
    from allyouneed.kernels.dropout import drop

    ones = torch.ones(SIZE // 16, 16)
    base = (drop(ones, 12345, 0.5) > 0).float().flatten() - 0.5
    for bit in (0, 1, 7, 16, 31, 32, 33, 47, 62):
        other = (drop(ones, 12345 ^ (1 << bit), 0.5) > 0).float().flatten() - 0.5
        assert abs((base * other).mean()) < 5 * 0.25 / SIZE**0.5


@pytest.mark.parametrize("shape", [(5, 32), (3, 5), (7, 2048 * 16 + 16)])
def test_mask_does_not_depend_on_the_number_of_threads(shape):
    masks = []
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        torch.manual_seed(7)
        masks.append(mask(0.25, shape=shape))
    torch.set_num_threads(threads)
    assert torch.equal(*masks)


@pytest.mark.parametrize("width", [32, 5])
def test_residual_sum_and_gradients(width):
    x, onto = torch.randn(40, width, requires_grad=True), torch.randn(40, width, requires_grad=True)
    dropout = Dropout(0.5)
    torch.manual_seed(3)
    together = dropout(x, onto=onto)
    torch.manual_seed(3)
    alone = dropout(x)
    torch.testing.assert_close(together, onto + alone)
    weights = torch.randn(40, width)
    (together * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights * 2 * (alone != 0))
    torch.testing.assert_close(onto.grad, weights)


def test_overwriting_changes_neither_results_nor_gradients():
    dropout, grad = Dropout(0.5), torch.randn(4, 32)
    found = []
    for overwrite in (False, True):
        torch.manual_seed(3)
        x, onto = torch.randn(4, 32, requires_grad=True), torch.randn(4, 32, requires_grad=True)
        inner = x * 2
        before = inner.detach().clone()
        result = dropout(inner, onto=onto, overwrite=overwrite)
        result.backward(grad)
        found.append([result.detach(), x.grad, onto.grad])
        assert torch.equal(inner.detach(), result.detach() if overwrite else before)
    assert all(map(torch.equal, *found))


def test_no_dropout_in_evaluation():
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    torch.testing.assert_close(Dropout(0.5).eval()(x, onto=x), 2 * x)
