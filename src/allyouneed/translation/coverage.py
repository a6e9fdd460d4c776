"""Coverage penalty (Wu et al. 2016, section 7) for translations that pay too little attention to source tokens.

score = log P / lp + β Σ_i log(min(Σ_j p_ij, 1)) over source tokens i, where p_ij is the attention of target token j
to i, ends of sentence included: the mean over heads in the penultimate decoder layer, as for alignments. The penalty
reorders the finished hypotheses. This takes an additional forward pass, in which attention is computed step by step.

CTranslate2 computes the same, with the heads that an exported model names for alignments, for sentences in batches of
their own: in a padded batch, its penalty counts padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer
from allyouneed.translation.alignment import deciding_layer
from allyouneed.translation.beam_search import BeamSearch
from allyouneed.translation.search import Hypothesis, LengthPenalty, Model, TokenSelector

_MIN_ATTENTION = 1e-10  # keeps the logarithm finite


class _CoverageSearch(BeamSearch):
    """Beam search that ends as soon as `beam` hypotheses are finished.

    The bound that ends other searches early does not hold for scores that the penalty changes.
    """

    def _is_finished(self, length: int) -> np.ndarray:
        enough = np.array([len(self.finished[sentence]) >= self.beam for sentence in self.sentences])
        return (length > self.max_lengths) | (self.scores.max(axis=1) == -np.inf) | enough


@torch.inference_mode()
def coverage_beam_search(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    beam_size: int,
    penalty: LengthPenalty,
    constraints: TokenSelector | None = None,
) -> list[list[Hypothesis]]:
    """Search for the hypotheses that the penalty reorders, the first `beam_size` that are finished, as in CTranslate2.

    Args:
        model: The model.
        source_ids: Padded source ids, [sentences, source].
        max_lengths: Maximum number of tokens of each sentence, the end not counted.
        beam_size: Hypotheses kept at each step.
        penalty: The length penalty.
        constraints: Constraints on the next token.

    Returns:
        The hypotheses of each sentence; more than `beam_size` if several were finished in the last step.
    """
    most = 2 * beam_size
    return _CoverageSearch(model, source_ids, max_lengths, beam_size, penalty, most, constraints).run()


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
