"""Sampling of the next token: from the whole vocabulary, its top k, or its top p (nucleus)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.search import TopTokens


def sample(logits: Tensor, options: SearchOptions, sentences: Sequence[int], step: int) -> TopTokens:
    """Sample one token for each row (Gumbel-max), with its log probability under the unmodified distribution.

    Args:
        logits: Logits of the next token, [rows, vocabulary].
        options: Top-k, top-p, temperature and seed.
        sentences: Index of each row's sentence in the request. The seed, this index and the step determine the token.
        step: Number of tokens so far, the start of sentence included.
    """
    log_p = logits.log_softmax(dim=-1)
    scaled = (logits / options.sampling_temperature).log_softmax(dim=-1)
    if options.sampling_topk:
        threshold = scaled.topk(min(options.sampling_topk, scaled.shape[1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < threshold, -torch.inf)
    if options.sampling_topp < 1:
        ordered, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True)
        excluded = ordered.cumsum(dim=-1) - ordered >= options.sampling_topp
        excluded[:, 0] = False  # the most likely token remains, even where the threshold rounds to 0 in fp32
        scaled = scaled.masked_fill(torch.zeros_like(excluded).scatter(1, order, excluded), -torch.inf)
    noise = [np.random.default_rng([options.seed, i, step]).gumbel(size=logits.shape[1]) for i in sentences]
    tokens = (scaled + torch.from_numpy(np.stack(noise)).to(scaled)).argmax(dim=-1, keepdim=True)
    return TopTokens(*(x.cpu().numpy() for x in (log_p.gather(1, tokens), tokens, log_p[:, EOS])))
