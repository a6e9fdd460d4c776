"""Label-smoothed cross-entropy (section 5.4), whole and in chunks.

The target distribution is (1 - ε) on the right word plus ε/V on every word, as in Szegedy et al. 2015, which the paper
cites; tensor2tensor spreads ε over the other V - 1. Where a teacher has a share in it, the rest is as said, and the
share is the teacher's own distribution: word-level knowledge distillation (Kim and Rush 2016, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allyouneed import kernels

_CHUNK_ELEMENTS = {"cpu": 2_000_000, "cuda": 2**27}  # logits at a time: on a CPU 8 MB of fp32 stays in the cache
_FEWEST_ROWS = 256  # of a chunk: each adds to the whole gradient of the words once, which fewer would not be worth


class Teacher(NamedTuple):
    """Who has a share (0 to 1) in the target distribution, as what makes its logits: hidden [tokens, d of the teacher],
    weight [vocabulary, d of the teacher]."""

    hidden: Tensor
    weight: Tensor
    share: float


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float, teacher: Teacher | None = None) -> Tensor:
    """Sum over tokens, in nats. logits [tokens, vocabulary], targets [tokens] -> []. The plain twin."""
    log_p = logits.float().log_softmax(dim=-1)
    right = log_p.gather(1, targets[:, None]).sum()
    loss = -(1 - smoothing) * right - smoothing * log_p.mean(dim=-1).sum()
    if teacher is None:
        return loss
    taught = -((teacher.hidden @ teacher.weight.T).float().softmax(dim=-1) * log_p).sum()
    return (1 - teacher.share) * loss + teacher.share * taught


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, teacher: Teacher | None = None
) -> tuple[Tensor, Tensor]:
    """The same from hidden [tokens, d_model] and weight [vocabulary, d_model], never holding all logits.

    -> smoothed loss (differentiable) and the plain negative log likelihood, both sums over tokens in nats.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # once here, instead of at every chunk
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _ChunkedCrossEntropy.apply(hidden, weight, targets, smoothing, teacher)  # type: ignore[no-untyped-call]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made chunk by chunk while the logits are there, unless nobody asks for them."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, teacher: Teacher | None
    ) -> tuple[Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad)
        grad_hidden = torch.empty_like(hidden) if wanted else None
        grad_weight = (torch.empty_like if len(hidden) else torch.zeros_like)(weight) if wanted else None
        loss, nll = (hidden.new_zeros((), dtype=torch.float32) for _ in range(2))
        rows = min(len(hidden), max(_FEWEST_ROWS, _CHUNK_ELEMENTS[hidden.device.type] // len(weight)))
        of_words = _word_loss(hidden, weight.detach(), rows, smoothing, teacher)
        for start in range(0, len(hidden), max(1, rows)):
            here = slice(start, start + rows)
            chunk = hidden[here]
            grad_here = None if grad_hidden is None else grad_hidden[here]
            taught = None if teacher is None else teacher.hidden[here]
            grad_logits, loss_here, nll_here = of_words(chunk, targets[here], grad_here, taught)
            loss += loss_here
            nll += nll_here
            if grad_weight is not None:
                _sum_products(grad_weight, grad_logits.T, chunk, begins=start == 0)
        ctx.gradients = grad_hidden, grad_weight
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the loss's gradients were made once and are used up: compute it again")
        (grad_hidden, grad_weight), ctx.gradients = ctx.gradients, None
        return grad_hidden.mul_(grad_loss.to(grad_hidden.dtype)), grad_weight.mul_(grad_loss), None, None, None


def _sum_products(sums: Tensor, a: Tensor, b: Tensor, begins: bool) -> None:
    """sums = a @ b for the first, sums += a @ b for all others."""
    if kernels.multiplies(len(b), b, sums):
        kernels.matmul.matmul(a, b, mode=kernels.Mode.SET if begins else kernels.Mode.ADD, out=sums)
    elif a.dtype == sums.dtype:
        sums.addmm_(a, b, beta=0 if begins else 1)
    else:
        product = a @ b
        sums.copy_(product) if begins else sums.add_(product)


def _word_loss(
    hidden: Tensor, weight: Tensor, rows: int, smoothing: float, teacher: Teacher | None
) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """What makes the loss of a chunk of `rows` hidden states and its gradients: by kernels, or the plain twin."""
    of_teacher, share = (None, 0.0) if teacher is None else (teacher.weight.to(teacher.hidden.dtype), teacher.share)
    parts = (1 - share) * (1 - smoothing), (1 - share) * smoothing / len(weight), share
    if kernels.usable(hidden, weight) and (teacher is None or kernels.usable(teacher.hidden, teacher.weight)):
        return kernels.loss.TokenLoss(weight, rows, parts, of_teacher)
    return PlainWordLoss(weight.to(hidden.dtype), rows, parts, of_teacher)


class PlainWordLoss:
    """PyTorch's twin of `kernels.loss.TokenLoss`, which says what is what."""

    def __init__(self, weight: Tensor, rows: int, parts: tuple[float, float, float], of_teacher: Tensor | None):
        self._weight, self._parts, self._of_teacher = weight, parts, of_teacher
        self._room = weight.new_empty(rows, len(weight))  # the same for all chunks, so that it stays in the cache

    def __call__(
        self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, taught: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = torch.mm(hidden, self._weight.T, out=self._room[: len(hidden)]).float()
        right, (certain, uniform, share) = targets[:, None], self._parts
        normaliser, right_logits = logits.logsumexp(dim=-1).sum(), logits.gather(1, right).sum()
        loss = normaliser - certain * right_logits - uniform * logits.sum()
        of_teacher: Tensor | float = 0.0
        if taught is not None and self._of_teacher is not None:
            of_teacher = (taught @ self._of_teacher.T).float().softmax(dim=-1).mul_(share)
            loss -= (of_teacher * logits).sum()
        torch.softmax(logits, dim=-1, out=logits)
        logits.scatter_add_(1, right, logits.new_full(right.shape, -certain)).sub_(uniform + of_teacher)
        grad_logits = logits.to(hidden.dtype)
        if grad_hidden is not None:
            torch.mm(grad_logits, self._weight, out=grad_hidden)
        return grad_logits, loss, normaliser - right_logits
