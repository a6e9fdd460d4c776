"""What a loss or a training step does with padding and with the shift of the target.

The gradient of a cross-entropy with respect to the logits is w (p - q): the weight w of a position times the model's
distribution minus the label's. The label and the weight of every position can therefore be read from the gradient,
whatever the code of the loss looks like, also with label smoothing.

Dimensions: batch; target: positions; vocab.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from allyouneed.errors import UserError
from allyouneed.verification.adapter import Subject
from allyouneed.verification.findings import FAILED, PASSED, Finding, checks
from allyouneed.verification.recording import Functions, batch_first

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[nn.Module, Tensor, Tensor], Tensor]

_NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class Read:
    """Labels and weights read from a gradient.

    Attributes:
        labels: Label of each position, shape [batch, target]; meaningless where the weight is 0.
        weights: Weight of each position in the loss, shape [batch, target].
    """

    labels: Tensor
    weights: Tensor


def read_gradient(logits: Tensor, grad: Tensor) -> Read:
    """Read labels and weights from the gradient of a loss with respect to its logits [batch, target, vocab].

    A position's gradient is w p_v - w q_v, where q_v is the same for all v but the label. The slope over the other
    entries is w.
    """
    p, labels = logits.softmax(-1), grad.argmin(-1)
    others = torch.ones_like(grad, dtype=torch.bool).scatter(-1, labels[..., None], False)
    count = others.sum(-1, keepdim=True)

    def centred(x: Tensor) -> Tensor:
        return torch.where(others, x - (x * others).sum(-1, keepdim=True) / count, torch.zeros_like(x))

    spread = centred(p).square().sum(-1)
    return Read(labels, (centred(p) * centred(grad)).sum(-1) / spread.clamp_min(1e-30))


def check_loss(subject: Subject, loss: Loss) -> list[Finding]:
    """Check a loss, called as loss(logits, labels) with [batch, target, vocab] and [batch, target], or flattened."""
    _, labels = subject.sample(4, 5, 6)
    labels[1, 4:] = labels[2, 2:] = subject.pad_id
    logits = torch.randn(*labels.shape, subject.target_vocab, generator=torch.Generator().manual_seed(0))
    reasons = []
    for shape in ("whole", "flat", "classes second"):
        x = logits.clone().requires_grad_()
        given = {"whole": x, "flat": x.flatten(0, 1), "classes second": x.transpose(1, 2)}[shape]
        try:
            value = loss(given, labels.flatten() if shape == "flat" else labels)
            if value.dim():
                value = value.sum()
            [grad] = torch.autograd.grad(value, x)
        except Exception as error:
            reasons.append(f"{shape}: {type(error).__name__}: {' '.join(str(error).split())[:80]}")
            continue
        return _padding(read_gradient(logits, grad), labels == subject.pad_id)
    raise UserError(f"cannot call the loss with logits and labels. Tried {'; '.join(reasons)}.")


def check_step(subject: Subject, step: Step) -> list[Finding]:
    """Check a training step, called as step(module, source, target), which returns the loss.

    Targets are [batch, target], from the start token on, padded. The decoder's input and the logits are observed.
    """
    source, target = subject.sample(4, 7, 8)
    target[1, 5:] = target[2, 3:] = subject.pad_id
    source[1, 5:] = subject.pad_id
    module = copy.deepcopy(subject.module).train()
    kept: list[Tensor] = []
    inputs: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        ids = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and not x.is_floating_point()]
        inputs.extend(x for x in ids if x.dtype == torch.long)
        x = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if isinstance(x, Tensor) and x.requires_grad and x.shape[-1] == subject.target_vocab:
            x.retain_grad()
            kept.append(x)

    for each in module.modules():
        each.register_forward_hook(keep, with_kwargs=True)
    try:
        with Functions(without_dropout=True), torch.enable_grad():
            step(
                module,
                source.T if subject.convention.time_first else source,
                target.T if subject.convention.time_first else target,
            ).backward()
    except Exception as error:
        raise UserError(
            f"the training step failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}."
        ) from error
    used = [x for x in kept if x.grad is not None]
    if not used:
        raise UserError("the training step's loss does not depend on logits of the module.")
    logits = used[-1]
    assert logits.grad is not None
    length = target.shape[1]
    sizes = [n for n in (length - 1, length) if batch_first(logits, 4, n) is not None]
    if not sizes:
        raise UserError(
            f"the training step's logits have shape {list(logits.shape)}, expected [4, {length - 1}, vocab]."
        )
    rows = batch_first(logits.detach(), 4, sizes[0])
    grad = batch_first(logits.grad, 4, sizes[0])
    assert rows is not None
    assert grad is not None
    read = read_gradient(rows, grad)
    fed = next(
        (y for x in reversed(inputs) if (y := batch_first(x, 4, sizes[0])) is not None and y.dim() == 2),
        target[:, : sizes[0]],
    )
    padding = (read.labels == subject.pad_id) | (read.weights.abs() <= _NEGLIGIBLE)
    return [_shift(read, fed, target, subject.pad_id), *_padding(read, padding)]


def _shift(read: Read, fed: Tensor, target: Tensor, pad_id: int) -> Finding:
    following = torch.full_like(fed, pad_id)
    width = min(fed.shape[1], target.shape[1] - 1)
    following[:, :width] = target[:, 1 : 1 + width]
    real = (following != pad_id) & (read.weights > _NEGLIGIBLE)
    total = max(int(real.sum()), 1)
    right = int(((read.labels == following) & real).sum())
    copied = int(((read.labels == fed) & real).sum())
    measured = {
        "en": f"the label is the next token at {right} of {total} positions, the decoder's own input at {copied}",
        "ko": f"위치 {total}개 중 {right}개의 레이블은 다음 토큰, {copied}개는 디코더 입력 자신",
    }
    return Finding(checks()["target shift"], PASSED if right == total else FAILED, measured, right / total)


def _padding(read: Read, padding: Tensor) -> list[Finding]:
    total = float(read.weights.abs().sum())
    hidden = float(read.weights[padding].abs().sum()) / max(total, 1e-30)
    seen = hidden > 1e-4
    measured = {
        "en": f"padding has {hidden:.1%} of the weight of the loss",
        "ko": f"손실의 비중 가운데 패딩이 {hidden:.1%}",
    }
    findings = [Finding(checks()["loss padding"], FAILED if seen else PASSED, measured, hidden)]
    if not seen:
        share, real = float(read.weights[~padding].sum()), float((~padding).float().mean())
        wrong = abs(share - real) < 1e-3 < abs(real - 1)
        told = {
            "en": f"the weights of real tokens sum to {share:.3f}; {real:.3f} of all positions are real tokens",
            "ko": f"실제 토큰의 비중 합은 {share:.3f}, 전체 위치 중 실제 토큰은 {real:.3f}",
        }
        findings.append(Finding(checks()["loss average"], FAILED if wrong else PASSED, told, share))
    return findings
