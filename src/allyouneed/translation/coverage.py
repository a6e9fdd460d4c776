"""Coverage penalty (Wu et al. 2016, section 7): a translation that leaves source words unattended counts less.

score = log P / lp + β Σ_i log(min(Σ_j p_ij, 1)) over source subwords i, with p_ij the attention of target subword j to
i: the mean over heads of the last decoder layer but one, as alignments have it. It reorders the finished hypotheses of
the beam, as the paper says, which takes one more pass of the model over them, attention computed step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from allyouneed.data.batches import pad
from allyouneed.data.tokenizer import BOS
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.search import Hypothesis

_LEAST = 1e-10  # attention that counts as none: its logarithm is not to be without end


@torch.inference_mode()
def covered(
    model: Transformer, sources: Sequence[Sequence[int]], found: Sequence[Sequence[Hypothesis]], penalty: float
) -> list[list[Hypothesis]]:
    """Hypotheses of each source (ids with its end) with the penalty in their scores, best first. penalty: β."""
    device = model.output.weight.device
    rows = [(ids, hypothesis.ids) for ids, hypotheses in zip(sources, found, strict=True) for hypothesis in hypotheses]
    if not rows:
        return [[] for _ in found]
    source_ids, target_ids = pad([ids for ids, _ in rows]), pad([[BOS, *ids] for _, ids in rows])
    recorder = AttentionRecorder()
    model.hidden(source_ids.to(device), target_ids.to(device), Probe((recorder,)))
    weights = recorder.cross[deciding_layer(len(recorder.cross))].float().mean(dim=1).cpu().numpy()
    values = (_coverage(each[: len(said) + 1, : len(ids)]) for each, (ids, said) in zip(weights, rows, strict=True))
    counted = ([one._replace(score=one.score + penalty * next(values)) for one in hypotheses] for hypotheses in found)
    return [sorted(hypotheses, key=lambda one: -one.score) for hypotheses in counted]


def _coverage(weights: np.ndarray) -> float:
    """weights [target, source], rows of which sum to 1 -> 0 where every source subword has its share, else less."""
    return float(np.log(np.clip(weights.sum(axis=0, dtype=np.float64), _LEAST, 1.0)).sum())
