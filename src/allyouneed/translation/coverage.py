"""Coverage penalty (Wu et al. 2016, section 7) for translations that pay too little attention to source tokens.

score = log P / lp + β Σ_i log(min(Σ_j p_ij, 1)) over source tokens i, where p_ij is the attention of target token j
to i: the mean over heads in the penultimate decoder layer, as for alignments. As in Wu et al., the penalty reorders the
finished hypotheses of the beam. This takes an additional forward pass, in which attention is computed step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.search import Hypothesis

_MIN_ATTENTION = 1e-10  # keeps the logarithm finite


@torch.inference_mode()
def add_coverage_penalty(
    model: Transformer, sources: Sequence[Sequence[int]], found: Sequence[Sequence[Hypothesis]], penalty: float
) -> list[list[Hypothesis]]:
    """Add the penalty to the scores of each source's hypotheses and sort them, best first.

    Args:
        model: The model.
        sources: Source ids with the end of sentence.
        found: The hypotheses of each source.
        penalty: β.
    """
    device = model.output.weight.device
    rows = [(ids, hypothesis.ids) for ids, hypotheses in zip(sources, found, strict=True) for hypothesis in hypotheses]
    if not rows:
        return [[] for _ in found]
    source_ids, target_ids = pad([ids for ids, _ in rows]), pad([[BOS, *ids] for _, ids in rows])
    recorder = AttentionRecorder()
    model.hidden(source_ids.to(device), target_ids.to(device), Probe((recorder,)))
    weights = recorder.cross[deciding_layer(len(recorder.cross))].float().mean(dim=1).cpu().numpy()
    values = (_coverage(each[: len(target) + 1, : len(ids)]) for each, (ids, target) in zip(weights, rows, strict=True))
    counted = ([one._replace(score=one.score + penalty * next(values)) for one in hypotheses] for hypotheses in found)
    return [sorted(hypotheses, key=lambda one: -one.score) for hypotheses in counted]


def _coverage(weights: np.ndarray) -> float:
    """Return the penalty of weights [target, source] without β: 0 if each source token receives at least 1 in total."""
    return float(np.log(np.clip(weights.sum(axis=0, dtype=np.float64), _MIN_ATTENTION, 1.0)).sum())
