"""Diagnosis of updates that were skipped because the loss or the gradient was not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.config import TrainingConfig
from allyouneed.data.batches import Batch
from allyouneed.data.store import PairStore
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.training.distributed.ranks import whole
from allyouneed.training.health import advice
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.step import StepMetrics, TrainingState, share_loss, uses_bf16

_SHOWN = 3  # names and texts in a message


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Describe the tensors with values that are NaN or infinite, for example "output.weight (3 of 96 values)"."""
    counted = ((name, int((~tensor.isfinite()).sum()), tensor.numel()) for name, tensor in named)
    return [f"{name} ({count:,} of {total:,} values)" for name, count, total in counted if count]


def first_names(names: Sequence[str]) -> str:
    """Join the first names, and count the rest."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def report_skipped(
    log: RunLog,
    state: TrainingState,
    metrics: StepMetrics,
    pairs: np.ndarray,
    store: PairStore,
    tokenizer: AnyTokenizer,
) -> None:
    """Log a skipped update with its batch, and show the first one in a row.

    Args:
        log: Log of the run.
        state: Training state after the update.
        metrics: Metrics of the update.
        pairs: Pair indices of the batch.
        store: Training pairs.
        tokenizer: Decodes the pairs.
    """
    columns = {"source": store.source, "target": store.target}
    texts = [
        {side: tokenizer.decode(column[pair].tolist()) for side, column in columns.items()} for pair in pairs[:_SHOWN]
    ]
    what = "gradient" if math.isfinite(metrics.loss) else "loss"
    log.record(
        "skipped",
        step=state.step,
        epoch=state.position.epoch,
        what=what,
        loss=metrics.loss,
        parameters=list(metrics.broken),
        pairs=pairs.tolist(),
        texts=texts,
    )
    if state.health.skipped_in_a_row == 1:
        log.show(
            f"step {state.step:,}: the {what} is not finite, so the update is skipped; the batch has {len(pairs):,} "
            f"pairs, for example {texts[0]['source']!r} → {texts[0]['target']!r} (all in log.jsonl)"
        )


def refuse_to_go_on(
    state: TrainingState, shares: Sequence[Batch], training: TrainingConfig, metrics: StepMetrics
) -> NoReturn:
    """Raise `UserError` with a diagnosis of the last skipped update."""
    causes = ". ".join(find_causes(state, shares, training, metrics))
    last = "none" if state.health.smoothed is None else f"{state.health.smoothed:.4g}"
    raise UserError(
        f"training has diverged: the loss or the gradient was not finite in {state.health.skipped_in_a_row} updates in "
        f"a row, up to step {state.step:,} (training.max_skipped_steps). {causes}. Last finite training loss: {last}. "
        f"{advice(training)}"
    )


def find_causes(
    state: TrainingState, shares: Sequence[Batch], training: TrainingConfig, metrics: StepMetrics
) -> Iterator[str]:
    """Yield findings about a skipped update, one sentence each.

    Args:
        state: Training state, with the weights as they were before the update.
        shares: Batches of the update.
        training: Training settings.
        metrics: Metrics of the update.
    """
    parameters = list(state.model.named_parameters())
    weights = not_finite((name, whole(weight)) for name, weight in parameters)
    yield f"Weights that are not finite: {first_names(weights)}" if weights else "All weights are finite"
    if module := first_broken_module(state, shares, training):
        yield f"The first output that is not finite is that of {module}"
    elif math.isfinite(metrics.loss):
        yield f"The loss is finite ({metrics.loss:.4g}), the gradient of {first_names(metrics.broken)} is not"
    groups = [group for optimizer in state.optimizers for group in optimizer.param_groups]
    yield "Learning rate: " + ", ".join(f"{group['lr']:.3g} (peak {group['peak']:g})" for group in groups)
    if uses_bf16(training, parameters[0][1].device):
        yield "Precision: bf16; training.precision=fp32 is more exact"
    else:
        yield "Precision: fp32"


def first_broken_module(state: TrainingState, shares: Sequence[Batch], training: TrainingConfig) -> str:
    """Return the name of the first module with an output that is not finite; "" if all outputs are finite."""
    found: list[str] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, arguments: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(name)

        return look

    handles = [module.register_forward_hook(hook(name)) for name, module in state.model.named_modules() if name]
    device = next(state.model.parameters()).device
    try:
        with torch.no_grad():
            for batch in shares:  # the same number on all ranks, as a sharded model needs
                loss, _ = state.engine(partial(share_loss, batch=batch, training=training, device=device))
                if not found and not bool(loss.isfinite()):
                    found.append("the loss")
    finally:
        for handle in handles:
            handle.remove()
    return "".join(found)
