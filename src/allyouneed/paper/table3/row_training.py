"""Training of one row of table 3, in a worker process with one thread."""

from __future__ import annotations

import signal
import time
from typing import Any

import torch
from rich.console import Console

from allyouneed.config import Config
from allyouneed.data.prepared import PreparedData
from allyouneed.model.transformer import Transformer
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.reporting.outcome import INTERRUPTED
from allyouneed.training.request import Request, base_config
from allyouneed.training.train import train
from allyouneed.training.validation import perplexity

TRIAL_STEPS = 100
TRIAL_SETTINGS = (
    f"training.steps={TRIAL_STEPS}",
    f"training.log_every={TRIAL_STEPS // 2}",
    "training.bleu_sentences=0",
    "search.beam_size=1",
    "search.max_extra_length=0",
)


def start_worker() -> None:
    """Initialise a worker: one thread, and no reaction to Ctrl-C between rows; training has its own handler."""
    signal.signal(signal.SIGINT, lambda number, frame: None)  # an ignored signal would stay ignored in training
    torch.set_num_threads(1)


def measure_step_seconds(request: Request) -> float:
    """Measure the time of a step in a short training, whose first half warms up.

    Args:
        request: A training with `TRIAL_SETTINGS`.

    Returns:
        Seconds per step.
    """
    train(request, Console(quiet=True))
    halves = [record["seconds"] for record in RunLog(request.out, Console()).records() if record["event"] == "train"]
    return (halves[1] - halves[0]) / (TRIAL_STEPS / 2)


def train_row(request: Request) -> dict[str, Any]:
    """Train a row, or resume its training.

    Args:
        request: The row's training.

    Returns:
        Status, scores, size and settings of the row; only the status if the training was interrupted.
    """
    start = time.perf_counter()
    outcome = train(request, Console(quiet=True))
    if outcome.status == INTERRUPTED:
        return {"status": outcome.status}
    config = base_config(request).override(request.settings)
    valid = outcome.scores["valid"]
    vocab_size = len(PreparedData(request.data_folder).tokenizer())
    with torch.device("meta"):
        parameters = Transformer(config.model, vocab_size).num_parameters()
    return {
        "status": outcome.status,
        "perplexity": perplexity(valid["loss"]),
        "bleu": valid["bleu"],
        "bleu_signature": valid["bleu_signature"],
        "beam_size": valid["beam_size"],
        "parameters": parameters,
        "minutes": (time.perf_counter() - start) / 60,
        "columns": _columns(config),
    }


def _columns(config: Config) -> dict[str, Any]:
    """Return the settings that table 3 prints, with its names."""
    model = config.model
    return {
        "N": model.encoder_layers,
        "d_model": model.d_model,
        "d_ff": model.d_ff,
        "h": model.num_heads,
        "d_k": model.key_size,
        "d_v": model.value_size,
        "P_drop": model.dropout,
        "ε_ls": config.training.label_smoothing,
        "steps": config.training.steps,
    }
