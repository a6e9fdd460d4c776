"""Label-smoothed cross-entropy (section 5.4), for all logits or in chunks.

The target distribution is (1 - ε) on the correct token plus ε/V on every token of the vocabulary of size V, as in
Szegedy et al. 2015, which the paper cites; tensor2tensor distributes ε over the other V - 1 tokens. With a teacher, the
target is mixed with the teacher's distribution: token-level knowledge distillation (Kim and Rush 2016, section 3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allyouneed import kernels

if TYPE_CHECKING:
    from allyouneed.kernels.loss import TokenLoss
    from allyouneed.kernels.loss_amx import AmxTokenLoss

_CHUNK_ELEMENTS = {"cpu": 2_000_000, "cuda": 2**27}  # logits per chunk: 8 MB of fp32 fit into a CPU's cache
_MIN_ROWS = 256  # minimum rows per chunk, because each chunk updates the gradient of all output weights


class TeacherLogits(NamedTuple):
    """Factors of a teacher's logits, hidden · weightᵀ, and the teacher's share of the target distribution.

    Attributes:
        hidden: The teacher's decoder states, [tokens, d_model of the teacher].
        weight: The teacher's output weights, [vocabulary, d_model of the teacher].
        share: Weight of the teacher's distribution, from 0 to 1.
    """

    hidden: Tensor
    weight: Tensor
    share: float


def smoothed_cross_entropy(
    logits: Tensor, targets: Tensor, smoothing: float, teacher: TeacherLogits | None = None
) -> Tensor:
    """Compute label-smoothed cross-entropy (section 5.4): the reference implementation.

    Args:
        logits: Logits, [tokens, vocabulary].
        targets: Correct token ids, [tokens].
        smoothing: ε of label smoothing.
        teacher: Teacher whose distribution is part of the target.

    Returns:
        The sum over tokens in nats, as a scalar.
    """
    log_p = logits.float().log_softmax(dim=-1)
    correct = log_p.gather(1, targets[:, None]).sum()
    loss = -(1 - smoothing) * correct - smoothing * log_p.mean(dim=-1).sum()
    if teacher is None:
        return loss
    imitation = -((teacher.hidden @ teacher.weight.T).float().softmax(dim=-1) * log_p).sum()
    return (1 - teacher.share) * loss + teacher.share * imitation


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, teacher: TeacherLogits | None = None
) -> tuple[Tensor, Tensor]:
    """Compute label-smoothed cross-entropy without storing the logits of all tokens.

    Args:
        hidden: Decoder states, [tokens, d_model].
        weight: Output weights, [vocabulary, d_model].
        targets: Correct token ids, [tokens].
        smoothing: ε of label smoothing.
        teacher: Teacher whose distribution is part of the target.

    Returns:
        The smoothed loss (which can be differentiated once) and the negative log-likelihood, both summed over tokens in
        nats.
    """
    device, bf16 = hidden.device.type, kernels.multiplies_in_bf16()
    if torch.is_autocast_enabled(device) and not (bf16 and kernels.usable(hidden, weight)):  # once, not per chunk
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _ChunkedCrossEntropy.apply(hidden, weight, targets, smoothing, teacher, bf16)  # type: ignore[no-untyped-call]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Cross-entropy that computes the gradients it needs in the forward pass, while a chunk's logits are available."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        teacher: TeacherLogits | None,
        bf16: bool,
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = (torch.empty_like if len(hidden) else torch.zeros_like)(weight) if needs_weight else None
        loss, nll = (hidden.new_zeros((), dtype=torch.float32) for _ in range(2))
        rows = max(_MIN_ROWS, _CHUNK_ELEMENTS[hidden.device.type] // len(weight))
        if bf16 and kernels.choice.uses_amx():
            rows *= 2  # in the same memory, as the gradient of the logits is in bf16
        rows = min(len(hidden), rows)
        chunk_loss = _chunk_loss(hidden, weight.detach(), rows, smoothing, teacher, bf16, needs_weight)
        for start in range(0, len(hidden), max(1, rows)):
            part = slice(start, start + rows)
            chunk = hidden[part]
            grad_chunk = None if grad_hidden is None else grad_hidden[part]
            teacher_chunk = None if teacher is None else teacher.hidden[part]
            part_loss, part_nll = chunk_loss(chunk, targets[part], grad_chunk, teacher_chunk)
            loss += part_loss
            nll += part_nll
            if grad_weight is not None:
                chunk_loss.add_weight_gradient(grad_weight, chunk, start == 0)
        ctx.gradients = grad_hidden, grad_weight
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss were already used: compute the loss again")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if gradient is None else gradient.mul_(grad_loss.to(gradient.dtype)) for gradient in gradients)
        return *scaled, None, None, None, None


def _chunk_loss(
    hidden: Tensor,
    weight: Tensor,
    rows: int,
    smoothing: float,
    teacher: TeacherLogits | None,
    bf16: bool,
    needs_weight: bool,
) -> AmxTokenLoss | TokenLoss | PlainTokenLoss:
    """Return the function for the loss and gradients of up to `rows` tokens: compiled, or the reference."""
    teacher_weight, share = (None, 0.0) if teacher is None else (teacher.weight.to(teacher.hidden.dtype), teacher.share)
    parts = (1 - share) * (1 - smoothing), (1 - share) * smoothing / len(weight), share
    if kernels.usable(hidden, weight) and (teacher is None or kernels.usable(teacher.hidden, teacher.weight)):
        if bf16 and kernels.choice.uses_amx():
            return kernels.loss_amx.AmxTokenLoss(weight, rows, parts, teacher_weight, needs_weight)
        return kernels.loss.TokenLoss(weight, rows, parts, teacher_weight, bf16)
    return PlainTokenLoss(weight.to(hidden.dtype), rows, parts, teacher_weight)


class PlainTokenLoss:
    """Reference implementation of `kernels.loss.TokenLoss` in PyTorch.

    Args:
        weight: Output weights, [vocabulary, d_model].
        rows: Maximum number of tokens in a chunk.
        parts: Target probability of the correct token, the probability added to every token, and the teacher's share.
        teacher_weight: The teacher's output weights, or None.
    """

    def __init__(self, weight: Tensor, rows: int, parts: tuple[float, float, float], teacher_weight: Tensor | None):
        self._weight, self._parts, self._teacher_weight = weight, parts, teacher_weight
        self._buffer = weight.new_empty(rows, len(weight))  # reused by all chunks, so that it stays in the cache

    def __call__(
        self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, teacher_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute loss and gradients of one chunk.

        Args:
            hidden: Decoder states, [tokens, d_model].
            targets: Correct token ids, [tokens].
            grad_hidden: Output for the gradient of `hidden`, or None.
            teacher_hidden: The teacher's decoder states, or None.

        Returns:
            Smoothed loss and negative log-likelihood (sums in nats).
        """
        logits = torch.mm(hidden, self._weight.T, out=self._buffer[: len(hidden)]).float()
        correct, (certain, uniform, share) = targets[:, None], self._parts
        normaliser, correct_logits = logits.logsumexp(dim=-1).sum(), logits.gather(1, correct).sum()
        loss = normaliser - certain * correct_logits - uniform * logits.sum()
        soft_targets: Tensor | float = 0.0
        if teacher_hidden is not None and self._teacher_weight is not None:
            soft_targets = (teacher_hidden @ self._teacher_weight.T).float().softmax(dim=-1).mul_(share)
            loss -= (soft_targets * logits).sum()
        torch.softmax(logits, dim=-1, out=logits)
        logits.scatter_add_(1, correct, logits.new_full(correct.shape, -certain)).sub_(uniform + soft_targets)
        self._grad_logits = logits.to(hidden.dtype)
        if grad_hidden is not None:
            torch.mm(self._grad_logits, self._weight, out=grad_hidden)
        return loss, normaliser - correct_logits

    def add_weight_gradient(self, total: Tensor, hidden: Tensor, is_first: bool) -> None:
        """Add the gradient of the output weights due to the previous chunk, which had these decoder states."""
        if hidden.dtype == total.dtype:
            total.addmm_(self._grad_logits.T, hidden, beta=0 if is_first else 1)
        else:
            product = self._grad_logits.T @ hidden
            total.copy_(product) if is_first else total.add_(product)
