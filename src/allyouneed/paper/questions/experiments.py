"""The two questions that readers of the paper stumble over, answered by measuring our own model.

Why divide by √d_k (3.2.1)? What the softmax and its gradient do as d_k grows, with and without; and a training without.
What is "mask (opt.)" (figure 2, 3.2.3)? Which of the three attentions hides what; and trainings that hide too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from allyouneed.bundle import Build, load_bundle
from allyouneed.config import ModelConfig
from allyouneed.data.batches import Batch, collate
from allyouneed.data.prepare import PreparedData
from allyouneed.data.store import PairStore, open_store
from allyouneed.data.tokenizer import PAD
from allyouneed.errors import UserError
from allyouneed.model.attention import MultiHeadAttention, attention_weights
from allyouneed.model.masks import padding_mask
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.paper.questions.questions_page import write_page
from allyouneed.paper.results import Results
from allyouneed.progress import print_line
from allyouneed.training.log import RunLog
from allyouneed.training.loop import INTERRUPTED
from allyouneed.training.request import Request, assignments_of, identity
from allyouneed.training.run_record import RunRecord
from allyouneed.training.schedule import TrainingPlan
from allyouneed.training.train import train
from allyouneed.training.validation import ValidationSet, validation_loss

WIDTHS = tuple(2**power for power in range(11))
KEYS = 64
PADDINGS = (0, 20, 80)  # positions after the source
_SATURATED = 1e-3  # a Jacobian whose norm is smaller passes nothing on, to speak of
_SENTENCES = 100  # of the validation set, each alone
_SHOWN = 16  # of the validation set, for the table of masks

# One head as wide as the model, so that the scale matters; norm, optimizer and smoothing are the paper's (recipe base).
SETTINGS = (
    "model.d_model=128",
    "model.d_ff=512",
    "model.num_heads=1",
    "model.encoder_layers=2",
    "model.decoder_layers=2",
    "data.vocab_size=4000",
    "data.max_length=100",
    "training.batch_tokens=2000",
    "training.learning_rate=0.003",
    "training.bleu_sentences=100",
    "training.log_every=20",
    "search.beam_size=1",
    "search.max_extra_length=20",
)


class Unscaled(Transformer):
    """Softmax(Q Kᵀ): every query is multiplied by the √d_k that attention divides by."""

    def __init__(self, config: ModelConfig, vocab_size: int, plain: bool = False):
        super().__init__(config, vocab_size, plain=plain)
        root = math.sqrt(config.key_size)
        for module in self.modules():
            if isinstance(module, MultiHeadAttention):
                module.query.register_forward_hook(lambda linear, inputs, queries: queries * root)


class SeesPadding(Transformer):
    """Padding of the source is attended to like words. (Of the target, it stands in the future of all words.)"""

    packable = False

    def encode(self, source_ids: Tensor, probe: Probe | None = None) -> tuple[Tensor, Tensor]:
        mask = torch.ones_like(padding_mask(source_ids, self.pad_id))
        return self.encoder(self.source_embedding(source_ids, probe=probe), mask, probe), mask


class SeesTheFuture(Transformer):
    """The decoder sees all target words at once while training. Decoding word by word, it sees what there is."""

    packable = False

    def decode(self, target_ids: Tensor, memory: Tensor, memory_mask: Tensor, probe: Probe | None = None) -> Tensor:
        mask = padding_mask(target_ids, self.pad_id)
        return self.decoder(self.target_embedding(target_ids, probe=probe), memory, mask, memory_mask, probe)


class Variant(NamedTuple):
    """A model to train. masked: what gives the same weights the paper's masks back."""

    title: str
    build: Build
    masked: Build


VARIANTS = {
    "paper": Variant("as the paper has it", Transformer, Transformer),
    "unscaled": Variant("no division by √d_k", Unscaled, Unscaled),
    "padding": Variant("padding not hidden", SeesPadding, Transformer),
    "future": Variant("future not hidden", SeesTheFuture, Transformer),
}


def run_questions(
    train: Sequence[Path],
    valid: Sequence[Path] | None,
    languages: tuple[str, str],
    out: Path | None,
    minutes: float,
    console: Console,
    settings: Sequence[str] = (),
) -> Path:
    """Measures the softmax, trains the four variants in equal shares of the minutes, and writes the page. -> the page.

    settings: of all trainings, after those of this module. Each training is a RUN in the folder, whose weights only its
    own variant can use. Errors: `UserError` for all that training refuses.
    """
    if assignments_of(settings, "training.minutes"):
        raise UserError("--set training.minutes: give --minutes, the time for all trainings.")
    request = Request(train, valid, Path(), languages, "base", [*SETTINGS, *settings])
    results = Results.open("questions", out, {**identity(request), "minutes": minutes})
    request = replace(request, data=results.folder / "data")
    results.part("scale", lambda: {"rows": scale_by_width()})
    for name in VARIANTS:
        results.part(name, partial(_train_variant, results.folder, name, request, minutes, console))
    results.part("masks", lambda: {"rows": _masks_of_trained(results.folder, request.data_folder)})
    return write_page(results)


# Why √d_k


def scale_by_width(widths: Sequence[int] = WIDTHS, keys: int = KEYS, seed: int = 1) -> list[dict[str, Any]]:
    """The softmax over `keys` dot products of independent components with variance 1, a row for each d_k.

    variance: of q·k; of each scale ("none", "√d_k", and "d_k" as the paper is often misread): entropy in nats; largest:
    the mean largest weight; gradient: the mean Frobenius norm of the softmax's Jacobian; slope: the median of p(1 - p),
    a weight's derivative by its own score; saturated: the share of queries whose gradient is under 0.001.
    """
    rows = []
    for d_k in widths:
        random = torch.Generator().manual_seed(seed)
        query = torch.randn(64, 1, 16, d_k, generator=random, dtype=torch.float64)
        key = torch.randn(64, 1, keys, d_k, generator=random, dtype=torch.float64)
        row: dict[str, Any] = {"d_k": d_k, "keys": keys, "variance": float((query @ key.mT).var())}
        for scale, factor in (("none", math.sqrt(d_k)), ("√d_k", 1.0), ("d_k", 1 / math.sqrt(d_k))):
            weights = attention_weights(query * factor, key)
            gradient = torch.linalg.matrix_norm(softmax_jacobian(weights))
            row |= {
                f"entropy, {scale}": float(torch.special.entr(weights).sum(-1).mean()),
                f"largest, {scale}": float(weights.amax(-1).mean()),
                f"gradient, {scale}": float(gradient.mean()),
                f"slope, {scale}": float((weights * (1 - weights)).median()),
                f"saturated, {scale}": float((gradient < _SATURATED).double().mean()),
            }
        rows.append(row)
    return rows


def softmax_jacobian(weights: Tensor) -> Tensor:
    """diag(p) - p pᵀ: the derivatives of weights p [..., key] by their scores, [..., key, key]."""
    return torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]


# Mask (opt.)


@torch.no_grad()
def what_is_hidden(model: Transformer, batch: Batch) -> list[dict[str, Any]]:
    """The largest weight that a word's query gives to padding and to later positions, in each of the three attentions.

    Both sides of the batch need padding; what gets exactly 0 is hidden. For attention over the source, later means
    further right in the source than the query is in the target.
    """
    source, target = batch.source != PAD, batch.target_input != PAD
    recorder = AttentionRecorder()
    model.eval()(batch.source, batch.target_input, Probe((recorder,)))
    rows = []
    for name, kept, queries, keys in (
        ("encoder self-attention", recorder.encoder, source, source),
        ("decoder self-attention", recorder.decoder, target, target),
        ("encoder-decoder attention", recorder.cross, target, source),
    ):
        weights = torch.stack(kept).amax(dim=(0, 2)) * queries[:, :, None]  # [batch, query, key], of all layers, heads
        later = torch.ones(weights.shape[1:], dtype=torch.bool).triu(1)
        on_padding = float((weights * ~keys[:, None, :]).max())
        on_later = float((weights * keys[:, None, :] * later).max())
        rows.append({"attention": name, "on padding": on_padding, "on later positions": on_later})
    return rows


def _masks_of_trained(folder: Path, data: Path) -> list[dict[str, Any]]:
    bundle = load_bundle(folder / "paper")
    store = open_store(PreparedData(data).valid)
    return what_is_hidden(bundle.model, collate(store, range(min(_SHOWN, len(store)))))


# The trainings


def _train_variant(folder: Path, name: str, shared: Request, minutes: float, console: Console) -> dict[str, Any]:
    """Trains one variant, or goes on, and measures what it has learnt. The first one's plan holds for all: it is not
    corrected on the way, so that rates are the same at every step."""
    variant = VARIANTS[name]
    stored = RunRecord(folder / "paper" / "run.json").content.get("plan")
    plan = TrainingPlan(**stored) if stored and name != "paper" else None
    by_steps = assignments_of(shared.settings, "training.steps")
    settings = [*shared.settings, *([] if by_steps else [f"training.minutes={minutes / len(VARIANTS)}"])]
    print_line(console, f"training {variant.title}")
    request = replace(shared, out=folder / name, settings=settings, build=variant.build, plan=plan, steady=True)
    outcome = train(request, console)
    if outcome.status == INTERRUPTED:
        raise KeyboardInterrupt
    log = RunLog(request.out, console).records()
    return {
        "title": variant.title,
        "steps": RunRecord(request.out / "run.json").content["plan"]["steps"],
        "training": [(record["step"], record["nll"]) for record in log if record["event"] == "train"],
        "validation": [(record["step"], record["loss"]) for record in log if record["event"] == "validation"],
        "loss": outcome.scores["valid"]["loss"],
        "bleu": outcome.scores["valid"]["bleu"],
        "signature": outcome.scores["valid"]["bleu_signature"],
        **_after_training(request, variant),
    }


def _after_training(request: Request, variant: Variant) -> dict[str, Any]:
    """masked: the validation loss with the paper's masks; padding: see `with_padding`."""
    prepared = PreparedData(request.data_folder)
    valid = ValidationSet(open_store(prepared.valid), prepared.valid_texts())
    masked, trained = load_bundle(request.out, variant.masked), load_bundle(request.out, variant.build)
    loss = validation_loss(masked, valid, trained.config.training)
    return {"masked": loss, "padding": with_padding(trained.model, valid.store)}


@torch.no_grad()
def with_padding(model: Transformer, store: PairStore, paddings: Sequence[int] = PADDINGS) -> list[dict[str, Any]]:
    """What padding after the source changes, as a longer sentence in the batch causes it: a row for each amount.

    Sentences are fed one by one. loss: nats a target subword; changed: the share of target subwords whose likeliest
    prediction is another than with the first amount.
    """
    model.eval()
    rows: list[dict[str, Any]] = [{"padding": padding, "loss": 0.0, "changed": 0.0} for padding in paddings]
    tokens = 0
    for pair in range(min(_SENTENCES, len(store))):
        batch = collate(store, [pair])
        first = None
        for row in rows:
            logits = model(F.pad(batch.source, (0, row["padding"]), value=PAD), batch.target_input)
            likeliest = logits.argmax(dim=-1)
            first = likeliest if first is None else first
            right = log_probabilities(logits).gather(-1, batch.target_output[..., None])
            row["loss"] -= float(right.sum())
            row["changed"] += float((likeliest != first).sum())
        tokens += batch.target_output.numel()
    return [{**row, "loss": row["loss"] / tokens, "changed": row["changed"] / tokens} for row in rows]
