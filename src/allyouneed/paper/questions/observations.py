"""Measurements during the training of a variant: attention, gradients and translations of fixed sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from allyouneed.bundle import Bundle
from allyouneed.config import TrainingConfig
from allyouneed.data.batches import Batch, collate
from allyouneed.data.tokens.tokenizer import PAD
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.paper.questions.softmax_scaling import VANISHING
from allyouneed.training.step import batch_loss
from allyouneed.training.validation import ValidationSet
from allyouneed.translation.translator import Translator

PAIRS = 64  # pairs of the validation set for attention and gradients

# Sentences that are translated during training, with a reference; not taken from any corpus.
SENTENCES: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("de", "en"): (
        ("ein hund rennt durch das gras .", "a dog runs through the grass ."),
        ("zwei kinder spielen am strand .", "two children are playing on the beach ."),
        ("eine frau in einem roten kleid singt .", "a woman in a red dress is singing ."),
        ("drei männer sitzen auf einer bank und reden .", "three men are sitting on a bench and talking ."),
        (
            "ein kleiner junge wirft einem braunen hund einen ball zu .",
            "a little boy throws a ball to a brown dog .",
        ),
        (
            "die frau fotografiert einen mann , der auf der straße gitarre spielt .",
            "the woman takes a picture of a man who is playing guitar on the street .",
        ),
    ),
}
SENTENCES["en", "de"] = tuple((target, source) for source, target in SENTENCES["de", "en"])


def sample_pairs(languages: tuple[str, str], valid: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return sentences to translate during training, with references.

    Args:
        languages: Codes of source and target.
        valid: Validation pairs, whose first ones are used for languages without own sentences.
    """
    own = SENTENCES.get(languages)
    return list(own) if own else list(valid[: len(SENTENCES["de", "en"])])


def observe(bundle: Bundle, valid: ValidationSet) -> dict[str, Any]:
    """Measure a model during its training, on the first pairs of the validation set.

    Args:
        bundle: The model; it is set to evaluation mode.
        valid: The validation set.

    Returns:
        The entries of `attention_statistics` and `gradient_norms`, and translations: the sentences of `sample_pairs`
        translated greedily.
    """
    model, training = bundle.model.eval(), bundle.config.training
    batch = collate(valid.store, range(min(PAIRS, len(valid.store))))
    sources = [source for source, _ in sample_pairs(bundle.languages, valid.texts)]
    translator = Translator(bundle, next(model.parameters()).device)
    return {
        **attention_statistics(model, batch),
        **gradient_norms(model, batch, training),
        "translations": [
            translation.text for translation in translator.translate(sources, beam_size=1, repetition_guard=False)
        ],
    }


@torch.no_grad()
def attention_statistics(model: Transformer, batch: Batch) -> dict[str, Any]:
    """Measure entropy and saturation of the attention weights.

    The first query of the decoder's self-attention is left out: with the future mask, it has a single key.

    Args:
        model: The model, in evaluation mode.
        batch: Sentence pairs, whose padding is left out as queries.

    Returns:
        entropy: By kind, [layer][head], the mean over queries in nats. saturated: By kind, the share of queries whose
        softmax has a Jacobian of norm below `softmax_scaling.VANISHING`. accuracy: The share of target tokens that are
        the most likely prediction, given those before them.
    """
    device = next(model.parameters()).device
    recorder = AttentionRecorder()
    logits = model(batch.source.to(device), batch.target_input.to(device), Probe((recorder,)))
    # </s>, which shorter targets have in their input, predicts nothing
    source, target = (ids.to(device) != PAD for ids in (batch.source, batch.target_output))
    after_first = target & (torch.arange(target.shape[1], device=device) > 0)
    entropy, saturated = {}, {}
    for kind, queries in (("encoder", source), ("decoder", after_first), ("cross", target)):
        # [layer, head, query of any sentence, key]
        weights = torch.stack(recorder.weights(kind)).transpose(1, 2)[:, :, queries].double()
        entropy[kind] = torch.special.entr(weights).sum(-1).mean(-1).tolist()
        saturated[kind] = float((jacobian_norm(weights) < VANISHING).double().mean())
    right = (logits.argmax(-1) == batch.target_output.to(device))[target]
    return {"entropy": entropy, "saturated": saturated, "accuracy": float(right.double().mean())}


def jacobian_norm(weights: Tensor) -> Tensor:
    """Compute the Frobenius norm of diag(p) - p pᵀ without forming the matrix.

    Args:
        weights: Weights p, shape [..., key].

    Returns:
        Norms, shape [...].
    """
    squares = (weights**2).sum(-1)
    return (squares - 2 * (weights**3).sum(-1) + squares**2).clamp(min=0).sqrt()


def gradient_norms(model: Transformer, batch: Batch, training: TrainingConfig) -> dict[str, Any]:
    """Compute norms of the gradient of the training loss per target token, without dropout.

    The gradients are those of the model as it is trained: with the division by √d_k in the chain rule, or without it.

    Args:
        model: The model, in evaluation mode.
        batch: Sentence pairs.
        training: Training settings: label smoothing and precision.

    Returns:
        loss: Negative log-likelihood in nats per target token. gradient: The norm over all parameters. projections: By
        kind, the norms for W^Q ("query") and W^K ("key"), a list with one entry per layer each.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tokens = int((batch.target_output != PAD).sum())
    loss, nll = batch_loss(model, batch, training, parameters[0].device)
    gradients = torch.autograd.grad(loss / tokens, parameters, allow_unused=True)
    norms = {
        id(parameter): float(gradient.norm())
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    }
    projections: dict[str, dict[str, list[float]]] = {}
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            for name, linear in (("query", module.query), ("key", module.key)):
                norm = math.hypot(*(norms.get(id(parameter), 0.0) for parameter in linear.parameters()))
                projections.setdefault(module.site[0], {}).setdefault(name, []).append(norm)
    return {"loss": float(nll) / tokens, "gradient": math.hypot(*norms.values()), "projections": projections}
