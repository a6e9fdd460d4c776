"""How sure the model is of a translation that is there: one forward pass, whoever wrote the translation."""

from __future__ import annotations

import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.model.transformer import log_probabilities
from allyouneed.translation.translator import Translator


def token_log_probabilities(translator: Translator, source: str, target: str) -> list[tuple[str, float]]:
    """Subwords of the target, `</s>` at the end, each with the natural logarithm of its probability given the source
    and the subwords before it. Their sum is what search calls the log probability."""
    source_ids = [*translator.tokenizer.encode(source.strip()), EOS]
    target_ids = [*translator.tokenizer.encode(target), EOS]
    with torch.inference_mode():
        logits = translator.model(*(pad([ids]).to(translator.device) for ids in (source_ids, [BOS, *target_ids[:-1]])))[
            0
        ]
        logits[:, [PAD, UNK, BOS]] = -torch.inf  # search never says them
        chosen = torch.tensor(target_ids, device=logits.device)[:, None]
        log_p = log_probabilities(logits).gather(1, chosen)[:, 0].tolist()
    return list(zip(translator.tokenizer.pieces(target_ids), log_p, strict=True))


def word_log_probabilities(scored: list[tuple[str, float]]) -> list[float]:
    """Of each word, counted from 0 between spaces as in `Translation.alignment`: the sum over its subwords."""
    words: list[float] = []
    for place, (token, log_p) in enumerate(scored):
        if token == "</s>":
            continue
        if place == 0 or token.startswith("▁"):
            words.append(0.0)
        words[-1] += log_p
    return words
