import pytest
import torch

pytest.importorskip("numba")

from allyouneed import kernels
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.loss import _TOKENS, TokenLoss, lay_out
from allyouneed.kernels.loss_amx import AmxTokenLoss
from allyouneed.kernels.packed_matrix import panels

PARTS = 0.4, 0.1 / 1000, 0.5  # certain, uniform and share of the target distribution


@pytest.mark.parametrize("vocab_size", [16, 40, 512, 997, 1024, 1100])
@pytest.mark.parametrize("depth", [16, 32, 48, 128])
def test_embeddings_are_laid_out_for_both_products(vocab_size, depth):
    weight = torch.randn(vocab_size, depth)
    to_logits, to_hidden = lay_out(weight)
    repeated = torch.cat([weight, weight[-1:].expand(pad_to_lanes(vocab_size) - vocab_size, depth)])
    assert torch.equal(to_logits, panels(repeated))
    assert torch.equal(to_hidden, torch.cat([panels(some.T) for some in weight.split(_TOKENS)]))


@pytest.fixture
def amx():
    if not kernels.has_amx():
        pytest.skip("no AMX")


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().double()


def amx_loss(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return loss, negative log-likelihood, and the gradients of `hidden` and `weight`, in two calls."""
    loss = AmxTokenLoss(weight, len(hidden), PARTS, None if teacher is None else weight, True)
    grad_hidden, grad_weight = torch.empty_like(hidden), torch.empty_like(weight)
    sums, half = [torch.zeros(()), torch.zeros(())], len(hidden) // 2
    for part in (slice(0, half), slice(half, None)):
        found = loss(hidden[part], targets[part], grad_hidden[part], None if teacher is None else teacher[part])
        loss.add_weight_gradient(grad_weight, hidden[part], part.start == 0)
        sums = [total + each for total, each in zip(sums, found, strict=True)]
    return [*sums, grad_hidden, grad_weight]


@pytest.mark.parametrize("vocab_size", [16, 40, 512, 997, 1100])
@pytest.mark.parametrize(("rows", "depth"), [(2, 16), (37, 48), (100, 128)])
@pytest.mark.parametrize("has_teacher", [False, True])
def test_amx_multiplies_rounded_values_and_sums_in_fp32(vocab_size, rows, depth, has_teacher, amx):
    """Compare with fp64 arithmetic on values that are rounded to bf16 before each product.

    A gradient of a logit that is close to the middle of two bf16 values may be rounded to either, so the gradients may
    differ by the distance of these, 2⁻⁸ of the value; but rarely, so their sums differ less.
    """
    torch.manual_seed(0)
    hidden, weight, teacher = torch.randn(rows, depth), torch.randn(vocab_size, depth) / 4, torch.randn(rows, depth)
    targets, (certain, uniform, share) = torch.randint(0, vocab_size, (rows,)), PARTS
    logits = rounded(hidden) @ rounded(weight).T
    log_p, distribution = logits.log_softmax(-1), torch.full_like(logits, uniform)
    distribution[torch.arange(rows), targets] += certain
    of_teacher = share * (rounded(teacher) @ rounded(weight).T).softmax(-1) if has_teacher else 0.0
    loss = logits.logsumexp(-1).sum() - ((distribution + of_teacher) * logits).sum()
    grad_logits = rounded((log_p.exp() - distribution - of_teacher).float())
    found = amx_loss(hidden, weight, targets, teacher if has_teacher else None)
    nll = -log_p[torch.arange(rows), targets].sum()
    for value, expected in zip(found, (loss, nll), strict=False):
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(
        found[2:], (grad_logits @ rounded(weight), grad_logits.T @ rounded(hidden)), strict=True
    ):
        assert (gradient.double() - expected).norm() < 2**-10 * expected.norm()


def test_amx_is_close_to_fp32(amx):
    """Rounding changes a factor by up to 2⁻⁹ of its value, so a sum of products by less than 2⁻⁸ of its norm."""
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(200, 64), torch.randn(1000, 64) / 8, torch.randint(0, 1000, (200,))
    exact = TokenLoss(weight, 200, PARTS, None)
    grad_hidden, grad_weight = torch.empty_like(hidden), torch.empty_like(weight)
    expected = exact(hidden, targets, grad_hidden, None)
    exact.add_weight_gradient(grad_weight, hidden, True)
    found = amx_loss(hidden, weight, targets)
    for value, sum_of_rows in zip(found, expected, strict=False):
        torch.testing.assert_close(value, sum_of_rows, rtol=1e-4, atol=0)
    for gradient, of_fp32 in zip(found[2:], (grad_hidden, grad_weight), strict=True):
        assert 0 < (gradient - of_fp32).norm() < 2**-8 * of_fp32.norm()


def test_amx_does_not_depend_on_the_number_of_threads(amx):
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(300, 48), torch.randn(1000, 48), torch.randint(0, 1000, (300,))
    threads, found = torch.get_num_threads(), list[list[torch.Tensor]]()
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            found.append(amx_loss(hidden, weight, targets))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(other, found[0], strict=True))


def test_amx_without_gradients(amx):
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(50, 32), torch.randn(500, 32), torch.randint(0, 500, (50,))
    results = [AmxTokenLoss(weight, 50, PARTS, None, False)(hidden, targets, None, None)]
    results.append(AmxTokenLoss(weight, 50, PARTS, None, True)(hidden, targets, torch.empty_like(hidden), None))
    assert results[0] == results[1]
