"""One update of the weights: `update(state, shares) -> metrics`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allyouneed import kernels
from allyouneed.config import TrainingConfig
from allyouneed.data.batches import Batch, Position
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.model.packed_forward import can_pack, packed_hidden
from allyouneed.model.packing import pack
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.parallel import Computation, accumulating, clear_gradients
from allyouneed.training.distributed.ranks import Ranks, local, whole
from allyouneed.training.health import Health
from allyouneed.training.loss import TeacherLogits, chunked_cross_entropy, smoothed_cross_entropy
from allyouneed.training.optimizer import Optimizer
from allyouneed.training.planning.schedule import TrainingPlan

_SHORTEST = Batch(torch.tensor([[EOS]]), torch.tensor([[BOS, EOS]]))  # a pair of empty sentences


class StepMetrics(NamedTuple):
    """Metrics of an update over the global batch.

    Attributes:
        loss: Smoothed cross-entropy in nats per target token.
        nll: Negative log-likelihood in nats per target token.
        tokens: Number of target tokens.
        gradient_norm: Norm before clipping; None if neither clipping nor logging needs it.
        skipped: Whether the weights are unchanged, because the loss or the gradient was not finite.
        broken: Parameters whose gradient was not finite.
    """

    loss: float
    nll: float
    tokens: int
    gradient_norm: float | None
    skipped: bool = False
    broken: Sequence[str] = ()


@dataclass
class Totals:
    """Sums over the updates since the last logged step.

    Attributes:
        loss: Smoothed cross-entropy in nats.
        nll: Negative log-likelihood in nats.
        tokens: Number of target tokens.
        seconds: Wall-clock time of the updates.
        loading: Part of `seconds` that was spent on making batches.
    """

    loss: float = 0.0
    nll: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    loading: float = 0.0

    def add(self, metrics: StepMetrics, seconds: float) -> None:
        """Add an update that took `seconds`; only its time if it was skipped."""
        self.seconds += seconds
        if not metrics.skipped:
            self.loss += metrics.loss * metrics.tokens
            self.nll += metrics.nll * metrics.tokens
            self.tokens += metrics.tokens

    def mean(self, total: float) -> float:
        """Return a sum per target token; NaN if all updates were skipped."""
        return total / self.tokens if self.tokens else math.nan


@dataclass
class TrainingState:
    """Everything that changes during training, as stored in checkpoints. Random numbers depend only on the step.

    Attributes:
        model: The model.
        optimizers: Its optimizers.
        step: Number of updates so far, including skipped ones.
        position: Position in the order of the batches.
        seconds: Training time over all sessions.
        best: `step` and `quality` of the best validation, and the `loss` at which patience began to count.
        validations_without_gain: Number of validations since then that count towards patience.
        since_log: Sums since the last logged step.
        health: Skipped updates and the course of the loss.
        teachers: Teachers of a student (`distil`); they are constant and not part of a checkpoint.
        engine: Calls a function of the model, and reduces gradients over the ranks: a `Computation`, unless that of
            `parallelise` is set.
    """

    model: Transformer
    optimizers: list[Optimizer]
    step: int = 0
    position: Position = field(default_factory=Position)
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    validations_without_gain: int = 0
    since_log: Totals = field(default_factory=Totals)
    health: Health = field(default_factory=Health)
    teachers: Sequence[Transformer] = ()
    engine: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Computation(self.model)


def seed_step(seed: int, step: int, part: int) -> None:
    """Seed PyTorch as a function of the step and the part of its batch, so that checkpoints need no generator state."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + part
    torch.manual_seed(mixed % 2**63)


def is_logged(step: int, training: TrainingConfig, plan: TrainingPlan) -> bool:
    """Return whether to log a step: every `log_every` steps and the last, so that records cover every step."""
    may_be_last = training.patience is not None and plan.validates(step)
    return step % training.log_every == 0 or step == plan.steps or may_be_last


def update(
    state: TrainingState, shares: Sequence[Batch], training: TrainingConfig, plan: TrainingPlan, ranks: Ranks
) -> StepMetrics:
    """Update the weights with the gradient of the global batch; this rank computes the gradient of its shares.

    If the loss or the gradient is not finite, the update is skipped on all ranks: weights and optimizers are unchanged.
    The step still counts, so that batches and learning rates do not depend on skipped updates.

    Args:
        state: Training state, which is updated.
        shares: This rank's micro-batches.
        training: Training settings.
        plan: Plan with the learning rates.
        ranks: Processes of the run.

    Returns:
        Metrics over the global batch.
    """
    state.step += 1
    model, device = state.model.train(), next(state.model.parameters()).device
    local_tokens = sum(int((batch.target_output != PAD).sum()) for batch in shares)
    tokens = ranks.sum(local_tokens)[0]
    divisor = tokens / ranks.count  # the engines divide the sum over ranks by their number
    loss, nll = torch.zeros(()), torch.zeros(())
    for part, batch in enumerate(shares):
        seed_step(training.seed, state.step, ranks.rank * len(shares) + part)
        if len(batch.source) or ranks.count > 1:
            with accumulating(state.engine, is_last=part + 1 == len(shares)):
                part_loss, part_nll = state.engine(
                    partial(share_loss, batch=batch, training=training, device=device, teachers=state.teachers)
                )
                (part_loss / divisor).backward()
            loss, nll = loss + part_loss.detach().cpu(), nll + part_nll.cpu()
    for parameter in model.parameters():
        if parameter.grad is None and parameter.requires_grad:  # it has no influence on the loss
            parameter.grad = torch.zeros_like(parameter)
    norm = whole(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    total_loss, total_nll, overflows = ranks.sum(loss, nll, not norm.isfinite())
    broken = _not_finite_gradients(model, ranks) if overflows else []  # a norm may overflow: all may be finite
    skipped = bool(broken) or not math.isfinite(total_loss)
    if not skipped:
        if training.clip_norm:
            nn.utils.clip_grads_with_norm_(model.parameters(), training.clip_norm, norm)
        _apply_gradients(state, plan)
    clear_gradients(state.engine, state.optimizers)
    is_used = training.clip_norm or is_logged(state.step, training, plan)
    metrics = StepMetrics(
        total_loss / tokens, total_nll / tokens, int(tokens), float(norm) if is_used else None, skipped, broken
    )
    state.health.add(metrics.nll, skipped)
    return metrics


def _apply_gradients(state: TrainingState, plan: TrainingPlan) -> None:
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * plan.factor(state.step)
        optimizer.step()


def _not_finite_gradients(model: Transformer, ranks: Ranks) -> list[str]:
    """Name the parameters whose gradient is not finite, on any rank."""
    named = {name: local(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    counts = ranks.sum(*(not bool(gradient.isfinite().all()) for gradient in named.values()))
    return [name for name, count in zip(named, counts, strict=True) if count]


def uses_bf16(training: TrainingConfig, device: torch.device) -> bool:
    """Return whether `training.precision` means bf16 autocast on this device, which makes it faster.

    A CPU trains in fp32 where the package's bf16 products are slower, or do not exist: PyTorch's are slower there, too.
    The reference implementation uses them, if bf16 is set.
    """
    if device.type == "cpu":
        return training.precision == "bf16" and (training.plain or kernels.prefers_bf16())
    return training.precision == "bf16" or (training.precision == "auto" and device.type == "cuda")


def share_loss(
    model: Transformer,
    batch: Batch,
    training: TrainingConfig,
    device: torch.device,
    teachers: Sequence[Transformer] = (),
) -> tuple[Tensor, Tensor]:
    """Compute `batch_loss`; an empty share has the loss 0 and a gradient of zeros.

    The engines' collective operations need all ranks: an empty share computes another batch, without weight.
    """
    if len(batch.source):
        return batch_loss(model, batch, training, device, teachers)
    loss, nll = batch_loss(model, _SHORTEST, training, device, teachers)
    return 0 * loss, 0 * nll


def batch_loss(
    model: Transformer,
    batch: Batch,
    training: TrainingConfig,
    device: torch.device,
    teachers: Sequence[Transformer] = (),
) -> tuple[Tensor, Tensor]:
    """Compute the loss of a batch, ignoring padding.

    Args:
        model: The model.
        batch: Token ids of source and target, [batch, length].
        training: Training settings: smoothing, precision, teacher's share.
        device: Device of the model.
        teachers: Teachers with the same vocabulary, whose distribution is part of the target.

    Returns:
        Smoothed cross-entropy (differentiable) and negative log-likelihood, sums over target tokens in nats. If the
        batch is computed twice (`training.consistency_share`), means of both.
    """
    bf16 = uses_bf16(training, device)
    share = training.consistency_share if model.training else 0.0
    passes = 2 if share else 1
    batch = Batch(*(torch.cat([ids] * passes) for ids in batch))
    targets = batch.target_output[batch.target_output != PAD].to(device, non_blocking=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        soft_targets = None
        if teachers:
            with torch.no_grad():
                soft_targets = _teacher_logits(
                    [_hidden(each, batch, device) for each in teachers], training.teacher_share
                )
        inputs = _drop_words(batch, training.word_dropout) if model.training and training.word_dropout else batch
        hidden, weight = _hidden(model, inputs, device)
        if share:
            others = torch.cat(hidden.detach().chunk(passes)[::-1])
            soft_targets = TeacherLogits(others, weight.detach(), share)
        if training.plain:
            logits = hidden @ weight.T
            loss = smoothed_cross_entropy(logits, targets, training.label_smoothing, soft_targets)
            return loss / passes, smoothed_cross_entropy(logits.detach(), targets, 0.0) / passes
        loss, nll = chunked_cross_entropy(hidden, weight, targets, training.label_smoothing, soft_targets)
        return loss / passes, nll / passes


def _teacher_logits(factors: Sequence[tuple[Tensor, Tensor]], share: float) -> TeacherLogits:
    """Average the logits of several teachers, given as factors: their distribution is the normalised geometric mean.

    The mean of products is one product, of the concatenated states and the concatenated weights.
    """
    hidden, weight = (torch.cat(parts, dim=1) if len(parts) > 1 else parts[0] for parts in zip(*factors, strict=True))
    return TeacherLogits(hidden / len(factors), weight, share)


def _drop_words(batch: Batch, rate: float) -> Batch:
    """Replace tokens other than padding, start and end by the unknown token; targets to predict keep them."""
    return Batch(*(ids.masked_fill((ids > EOS) & (torch.rand(ids.shape) < rate), UNK) for ids in batch))


def _hidden(model: Transformer, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the factors of the logits: decoder states [tokens, d_model] and output weights [vocabulary, d_model]."""
    real = batch.target_output != PAD
    if can_pack(model):
        source, target = pack(batch.source, model.source_tokens(batch.source)), pack(batch.target_input, real)
        hidden = packed_hidden(model, source.to(device), target.to(device))
    else:
        source_ids, target_ids, real = (x.to(device) for x in (batch.source, batch.target_input, real))
        hidden = model.hidden(source_ids, target_ids)[real]
    weight = model.output.weight
    if model.output.bias is not None:  # appended as a column, with a hidden unit of 1
        hidden, weight = F.pad(hidden, (0, 1), value=1.0), torch.cat([weight, model.output.bias[:, None]], dim=1)
    return hidden, weight
