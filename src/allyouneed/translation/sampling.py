"""Words drawn at random instead of the likeliest: from all, the `topk` likeliest, or those that make up `topp`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import EOS
from allyouneed.errors import UserError
from allyouneed.translation.search import Choice


@dataclass(frozen=True)
class Sampling:
    """topk: 0 for all words; topp: the smallest set of likeliest words with at least this probability; temperature:
    logits are divided by it. What is drawn for a sentence depends on the seed and its number alone."""

    topk: int = 0
    topp: float = 1.0
    temperature: float = 1.0
    seed: int = 1

    def refuse_impossible(self) -> None:
        """Errors: `UserError`, with what may be chosen instead."""
        if not (0 < self.temperature < np.inf and 0 < self.topp <= 1 and self.topk >= 0 and self.seed >= 0):
            raise UserError(
                "sampling: the temperature is above 0, topp above 0 and at most 1, topk and seed at least 0."
            )


def sampled(logits: Tensor, sampling: Sampling, sentences: Sequence[int], step: int) -> Choice:
    """One word of each row of logits [rows, vocabulary], with its log probability before anything was left out."""
    log_p = logits.log_softmax(dim=-1)
    scaled = (logits / sampling.temperature).log_softmax(dim=-1)
    if sampling.topk:
        worst = scaled.topk(min(sampling.topk, scaled.shape[1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < worst, -torch.inf)
    if sampling.topp < 1:
        ordered, places = scaled.softmax(dim=-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.topp
        scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(1, places, beyond), -torch.inf)
    noise = [np.random.default_rng([sampling.seed, i, step]).gumbel(size=logits.shape[1]) for i in sentences]
    words = (scaled + torch.from_numpy(np.stack(noise)).to(scaled)).argmax(dim=-1, keepdim=True)
    return Choice(*(x.cpu().numpy() for x in (log_p.gather(1, words), words, log_p[:, EOS])))
