"""`allyouneed paper questions`: why scores are divided by √d_k, and what "mask (opt.)" hides.

√d_k (section 3.2.1): the softmax and its gradient as d_k grows, with and without the division, and models of several
d_k trained without it. Masks (figure 2, section 3.2.3): the keys that each of the three attentions hides, and models
trained without one of the masks. Also models without positional encoding and with fewer heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console

from allyouneed.bundle import load_bundle
from allyouneed.data.batches import Batch, collate
from allyouneed.data.corpora import Corpus
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import PairStore
from allyouneed.data.tokens.tokenizer import PAD
from allyouneed.errors import UserError
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.paper.questions.ablation_data import training_facts, write_ablations
from allyouneed.paper.questions.observations import observe
from allyouneed.paper.questions.questions_page import write_page
from allyouneed.paper.questions.softmax_scaling import scale_by_width
from allyouneed.paper.questions.variants import VARIANTS, TrainingVariant
from allyouneed.paper.results_folder import Results
from allyouneed.progress import print_line
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.request import Request, assignments_of
from allyouneed.training.resolution.identity import identity
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.train import train
from allyouneed.training.validation import ValidationSet, validation_loss

PADDINGS = (0, 20, 80)  # padding positions after the source
_SENTENCES = 100  # sentences of the validation set that measure the effect of padding
_MASK_SENTENCES = 16  # sentences of the validation set for the table of masks

# Small, for minutes on one core, and without dropout, since such a training hardly repeats the text. The number of
# heads, norm, optimizer and smoothing are the paper's (recipe base).
SETTINGS = (
    "model.d_model=128",
    "model.d_ff=256",
    "model.num_heads=8",
    "model.encoder_layers=2",
    "model.decoder_layers=2",
    "model.dropout=0",
    "data.vocab_size=2000",
    "data.max_length=100",
    "training.batch_tokens=1000",
    "training.learning_rate=0.003",
    "training.bleu_sentences=100",
    "training.log_every=20",
    "search.beam_size=1",
    "search.max_extra_length=20",
)


def run_questions(
    train: Sequence[Corpus],
    valid: Sequence[Corpus] | None,
    languages: tuple[str, str],
    out: Path | None,
    minutes: float,
    console: Console,
    settings: Sequence[str] = (),
) -> Path:
    """Measure the softmax, train the variants, and write the page and `ablations.json` for the explorer.

    Args:
        train: Training text.
        valid: Validation text; None to hold out training pairs.
        languages: Codes of source and target.
        out: Folder of the results, see `Results.open`. Each training is a RUN in it that only its variant can load.
        minutes: Approximate time for all trainings.
        console: Receives progress.
        settings: Overrides `SECTION.NAME=VALUE` of all trainings.

    Returns:
        The path of the page.

    Raises:
        UserError: If training rejects the request.
    """
    if assignments_of(settings, "training.minutes"):
        raise UserError("--set training.minutes: give --minutes, the time for all trainings.")
    request = Request(train, valid, Path(), languages, "base", [*SETTINGS, *settings])
    results = Results.open("questions", out, {**identity(request), "minutes": minutes})
    request = replace(request, data=results.folder / "data")
    results.part("scale", lambda: {"rows": scale_by_width()})
    for name in VARIANTS:
        results.part(name, partial(_train_variant, results.folder, name, request, minutes, console))
    results.part("masks", lambda: {"rows": _measure_masks(results.folder, request.data_folder)})
    results.part("facts", lambda: training_facts(results.folder, request.data_folder))
    write_ablations(results)
    return write_page(results)


@torch.no_grad()
def what_is_hidden(model: Transformer, batch: Batch) -> list[dict[str, Any]]:
    """Find the largest weights on padding and on later positions in each of the three attentions.

    Keys whose weight is exactly 0 are hidden. For attention over the source, a later position is one whose index is
    larger than that of the query in the target.

    Args:
        model: The model; it is set to evaluation mode.
        batch: Sentences with padding on both sides.

    Returns:
        A row per attention.
    """
    source, target = batch.source != PAD, batch.target_input != PAD
    recorder = AttentionRecorder()
    model.eval()(batch.source, batch.target_input, Probe((recorder,)))
    rows = []
    for name, layers, queries, keys in (
        ("encoder self-attention", recorder.encoder, source, source),
        ("decoder self-attention", recorder.decoder, target, target),
        ("encoder-decoder attention", recorder.cross, target, source),
    ):
        # Maximum over layers and heads, [batch, query, key].
        weights = torch.stack(layers).amax(dim=(0, 2)) * queries[:, :, None]
        later = torch.ones(weights.shape[1:], dtype=torch.bool).triu(1)
        on_padding = float((weights * ~keys[:, None, :]).max())
        on_later = float((weights * keys[:, None, :] * later).max())
        rows.append({"attention": name, "on padding": on_padding, "on later positions": on_later})
    return rows


def _measure_masks(folder: Path, data: Path) -> list[dict[str, Any]]:
    bundle = load_bundle(folder / "paper")
    store = PreparedData(data).valid_pairs
    return what_is_hidden(bundle.model, collate(store, range(min(_MASK_SENTENCES, len(store)))))


def _train_variant(folder: Path, name: str, shared: Request, minutes: float, console: Console) -> dict[str, Any]:
    """Train a variant and measure it; all follow the first variant's initial plan, so that learning rates are equal."""
    variant = VARIANTS[name]
    stored = RunRecord(folder / "paper" / "run.json").content.get("plan")
    plan = TrainingPlan(**stored) if stored and name != "paper" else None
    by_steps = assignments_of(shared.settings, "training.steps")
    settings = [*shared.settings, *([] if by_steps else [f"training.minutes={minutes / len(VARIANTS)}"])]
    settings += [f"model.num_heads={variant.heads}"] if variant.heads else []
    print_line(console, f"training {variant.title}")
    request = replace(
        shared,
        out=folder / name,
        settings=settings,
        build=variant.build,
        plan=plan,
        steady=True,
        observe=observe,
    )
    outcome = train(request, console)
    outcome.raise_if_interrupted()
    log = RunLog(request.out, console).records()
    return {
        "title": variant.title,
        "steps": RunRecord(request.out / "run.json").content["plan"]["steps"],
        "training": [(record["step"], record["nll"]) for record in log if record["event"] == "train"],
        "validation": [(record["step"], record["loss"]) for record in log if record["event"] == "validation"],
        "quality": [(record["step"], record.get("bleu")) for record in log if record["event"] == "validation"],
        "observed": [
            {key: value for key, value in record.items() if key != "event"}
            for record in log
            if record["event"] == "observation"
        ],
        "model": _model_facts(request),
        "loss": outcome.scores["valid"]["loss"],
        "bleu": outcome.scores["valid"]["bleu"],
        "signature": outcome.scores["valid"]["bleu_signature"],
        **_after_training(request, variant),
    }


def _model_facts(request: Request) -> dict[str, Any]:
    config = RunRecord(request.out / "run.json").config.model
    return {"heads": config.num_heads, "d_k": config.key_size, "d_model": config.d_model, "d_ff": config.d_ff}


def _after_training(request: Request, variant: TrainingVariant) -> dict[str, Any]:
    """Measure the validation loss with the paper's masks, and the effect of padding."""
    prepared = PreparedData(request.data_folder)
    valid = ValidationSet(prepared.valid_pairs, prepared.valid_texts())
    masked, trained = load_bundle(request.out, variant.masked), load_bundle(request.out, variant.build)
    loss = validation_loss(masked, valid, trained.config.training)
    return {"masked": loss, "padding": with_padding(trained.model, valid.store)}


@torch.no_grad()
def with_padding(model: Transformer, store: PairStore, paddings: Sequence[int] = PADDINGS) -> list[dict[str, Any]]:
    """Measure the effect of padding after the source, as caused by longer sentences in a batch.

    Args:
        model: The model; it is set to evaluation mode.
        store: Sentence pairs, which are processed one by one.
        paddings: Numbers of padding positions.

    Returns:
        A row per number of padding positions: the loss in nats per target token, and the share of target tokens whose
        most likely prediction differs from that with the first number.
    """
    model.eval()
    rows: list[dict[str, Any]] = [{"padding": padding, "loss": 0.0, "changed": 0.0} for padding in paddings]
    tokens = 0
    for pair in range(min(_SENTENCES, len(store))):
        batch = collate(store, [pair])
        first = None
        for row in rows:
            logits = model(F.pad(batch.source, (0, row["padding"]), value=PAD), batch.target_input)
            predictions = logits.argmax(dim=-1)
            first = predictions if first is None else first
            log_probs = log_probabilities(logits).gather(-1, batch.target_output[..., None])
            row["loss"] -= float(log_probs.sum())
            row["changed"] += float((predictions != first).sum())
        tokens += batch.target_output.numel()
    return [{**row, "loss": row["loss"] / tokens, "changed": row["changed"] / tokens} for row in rows]
