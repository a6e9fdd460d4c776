import pytest
import torch

import allyouneed.training.loss as loss_module
from allyouneed.training.loss import TeacherLogits, chunked_cross_entropy, smoothed_cross_entropy

TOLERANCE = 64 * torch.finfo(torch.float32).eps  # sums of up to 64 terms in any order, of logits up to 10


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [70, 2_000_000])
def test_chunked_equals_plain_with_gradients(smoothing, chunk, kernels, monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.installed", lambda: kernels)
    monkeypatch.setitem(loss_module._CHUNK_ELEMENTS, "cpu", chunk)
    monkeypatch.setattr(loss_module, "_MIN_ROWS", 1)
    torch.manual_seed(0)
    hidden, weight = torch.randn(37, 16), torch.randn(29, 16)
    targets = torch.randint(0, 29, (37,))
    results = []
    for function in ("plain", "chunked"):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if function == "plain":
            loss = smoothed_cross_entropy(h @ w.T, targets, smoothing)
        else:
            loss, _ = chunked_cross_entropy(h, w, targets, smoothing)
        (loss / 37).backward()
        results.append((loss.detach() / 37, h.grad, w.grad))
    for plain, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, plain, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("vocab_size", [32, 64, 29])  # with 29 the kernels are not used
@pytest.mark.parametrize("share", [0.0, 0.7])
def test_chunked_equals_plain_with_our_own_products(vocab_size, share, own_products, monkeypatch):
    monkeypatch.setitem(loss_module._CHUNK_ELEMENTS, "cpu", 10 * vocab_size)
    monkeypatch.setattr(loss_module, "_MIN_ROWS", 1)
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(37, 16), torch.randn(vocab_size, 16), torch.randint(0, vocab_size, (37,))
    teacher = TeacherLogits(torch.randn(37, 32), torch.randn(vocab_size, 32), share) if share else None
    results = []
    for chunked in (False, True):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if chunked:
            loss, _ = chunked_cross_entropy(h, w, targets, 0.1, teacher)
        else:
            loss = smoothed_cross_entropy(h @ w.T, targets, 0.1, teacher)
        (loss / 37).backward()
        results.append((loss.detach() / 37, h.grad, w.grad))
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=TOLERANCE, atol=TOLERANCE)


def test_gradients_are_available_once():
    hidden, weight = torch.randn(5, 16, requires_grad=True), torch.randn(32, 16)
    loss, _ = chunked_cross_entropy(hidden, weight, torch.arange(5), 0.1)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already used"):
        loss.backward()


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("vocab_size", [29, 64])
def test_a_teacher_share_in_all_implementations(vocab_size, kernels, monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.installed", lambda: kernels)
    monkeypatch.setitem(loss_module._CHUNK_ELEMENTS, "cpu", 10 * vocab_size)
    monkeypatch.setattr(loss_module, "_MIN_ROWS", 1)
    torch.manual_seed(0)
    hidden, weight = torch.randn(37, 16), torch.randn(vocab_size, 16)
    targets, teacher = (
        torch.randint(0, vocab_size, (37,)),
        TeacherLogits(torch.randn(37, 32), torch.randn(vocab_size, 32), 0.7),
    )
    distribution = torch.full((37, vocab_size), 0.3 * 0.1 / vocab_size)
    distribution[torch.arange(37), targets] += 0.3 * 0.9
    distribution += 0.7 * (teacher.hidden @ teacher.weight.T).softmax(-1)
    results = []
    for function in ("definition", "plain", "chunked"):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if function == "definition":
            loss = -(distribution * (h @ w.T).log_softmax(-1)).sum()
        elif function == "plain":
            loss = smoothed_cross_entropy(h @ w.T, targets, 0.1, teacher)
        else:
            loss, nll = chunked_cross_entropy(h, w, targets, 0.1, teacher)
        (loss / 37).backward()
        results.append((loss.detach() / 37, h.grad, w.grad))
    for expected, plain, chunked in zip(*results, strict=True):
        torch.testing.assert_close(plain, expected, rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(chunked, expected, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(nll, torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum"))


def test_plain_loss_against_the_definition():
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7), torch.randint(0, 7, (5,))
    distribution = torch.full((5, 7), 0.1 / 7)
    distribution[torch.arange(5), targets] += 0.9
    expected = -(distribution * logits.log_softmax(-1)).sum()
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets, 0.1), expected)


def test_smoothing_by_hand():
    """Check two cases by hand.

    With 4 equal logits, every log probability is -ln 4 for any smoothing. With logit ln 3 for the target, the
    probabilities are 1/2 and three times 1/6, and the loss is -(0.9 + 0.1/4) ln 1/2 - 3 · 0.1/4 · ln 1/6.
    """
    target = torch.tensor([2])
    assert float(smoothed_cross_entropy(torch.zeros(1, 4), target, 0.1)) == pytest.approx(1.386294)
    logits = torch.tensor([[0.0, 0.0, 1.098612, 0.0]])
    assert float(smoothed_cross_entropy(logits, target, 0.1)) == pytest.approx(0.925 * 0.693147 + 0.075 * 1.791759)


def test_the_second_result_is_the_likelihood_without_smoothing():
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(5, 4), torch.randn(7, 4), torch.randint(0, 7, (5,))
    _, nll = chunked_cross_entropy(hidden, weight, targets, 0.1)
    torch.testing.assert_close(nll, torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum"))


def test_the_likelihood_is_the_same_without_gradients():
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(37, 16), torch.randn(29, 16), torch.randint(0, 29, (37,))
    expected = [x.detach() for x in chunked_cross_entropy(hidden.clone().requires_grad_(), weight, targets, 0.1)]
    with torch.no_grad():
        found = chunked_cross_entropy(hidden, weight, targets, 0.1)
    assert [float(x) for x in found] == [float(x) for x in expected]


def test_huge_logits_do_not_overflow():
    hidden = torch.full((1, 4), 1e3, requires_grad=True)
    loss, nll = chunked_cross_entropy(hidden, torch.eye(4) * 10, torch.tensor([2]), 0.0)
    loss.backward()
    assert all(torch.isfinite(tensor).all() for tensor in (loss, nll, hidden.grad))


@pytest.mark.parametrize("vocab_size", [40, 48])  # the size of our own bf16 products is a multiple of 16
def test_bf16_autocast_is_close_to_fp32_with_fp32_gradients(vocab_size):
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 32), torch.randn(vocab_size, 32, requires_grad=True)
    targets = torch.randint(0, vocab_size, (50,))
    expected, _ = chunked_cross_entropy(hidden, weight, targets, 0.1)
    (expected_gradient,) = torch.autograd.grad(expected, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = chunked_cross_entropy(hidden, weight, targets, 0.1)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0.1, atol=0.3)


@pytest.mark.parametrize("vocab_size", [4000, 10_003])
def test_a_large_vocabulary_in_several_chunks_agrees_with_fp64(vocab_size):
    torch.manual_seed(0)
    hidden, weight, targets = (
        torch.randn(600, 32),
        torch.randn(vocab_size, 32) / 6,
        torch.randint(0, vocab_size, (600,)),
    )
    results = []
    for kind in (torch.float64, torch.float32):
        h, w = hidden.to(kind).requires_grad_(), weight.to(kind).requires_grad_()
        if kind == torch.float64:
            log_p = (h @ w.T).log_softmax(-1)
            loss = -(0.9 * log_p.gather(1, targets[:, None]).sum() + 0.1 * log_p.mean(-1).sum())
        else:
            loss, _ = chunked_cross_entropy(h, w, targets, 0.1)
        (loss / 600).backward()
        results.append([x.double() for x in (loss.detach() / 600, h.grad, w.grad)])
    for expected, found in zip(*results, strict=True):
        assert (found - expected).abs().max() < 1.5e-6 * expected.abs().max()
