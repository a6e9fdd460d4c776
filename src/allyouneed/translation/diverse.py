"""Diverse beam search (Vijayakumar et al. 2016): the beam is divided into groups that avoid each other's tokens.

At each step, the groups choose tokens one after another. A token that earlier groups chose in this step is penalised by
`diversity_penalty` times the number of their hypotheses that chose it (Hamming diversity). The penalty
affects only the ranking of candidates, not the scores. The first group is an ordinary beam search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.translation.beam_search import BeamSearch, Candidates
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.search import Hypothesis, LengthPenalty, Model


@torch.inference_mode()
def diverse_beam_search(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    beam_size: int,
    penalty: LengthPenalty,
    groups: int,
    diversity: float,
    num_hypotheses: int = 1,
    constraints: Constraints | None = None,
) -> list[list[Hypothesis]]:
    """Search with `groups` beams of beam_size / groups hypotheses each; the other arguments are those of `beam_search`.

    Returns:
        The hypotheses of each sentence over all groups, best first. A hypothesis found by several groups is returned
        once, so there may be fewer than `num_hypotheses`.
    """
    search = DiverseBeamSearch(
        model, source_ids, max_lengths, beam_size, penalty, groups, diversity, num_hypotheses, constraints
    )
    found = search.run()
    merged = []
    for first in range(0, len(found), groups):
        distinct = {tuple(one.ids): one for group in found[first : first + groups] for one in group}
        merged.append(sorted(distinct.values(), key=lambda hypothesis: -hypothesis.score)[:num_hypotheses])
    return merged


class DiverseBeamSearch(BeamSearch):
    """Beam search that treats each group of a sentence as a sentence, with index sentence · groups + group."""

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        max_lengths: Sequence[int],
        beam_size: int,
        penalty: LengthPenalty,
        groups: int,
        diversity: float,
        num_hypotheses: int,
        constraints: Constraints | None = None,
    ):
        self.groups, self.diversity = groups, diversity
        sources, limits = source_ids.repeat_interleave(groups, dim=0), np.repeat(np.asarray(max_lengths), groups)
        if constraints is not None and constraints.prefixes:
            prefixes = [prefix for prefix in constraints.prefixes for _ in range(groups)]
            constraints = replace(constraints, prefixes=prefixes)
        group_beam = beam_size // groups
        super().__init__(model, sources, limits, group_beam, penalty, min(group_beam, num_hypotheses), constraints)
        self.tokens_per_row = group_beam + beam_size  # enough even if all tokens of the other groups are penalised

    def candidates(self, length: int) -> Candidates:
        log_p, tokens = self.continuations(length)
        count = len(tokens)
        totals = (self.scores[:, :, None] + log_p).reshape(count, -1)
        ranked = totals.copy()
        order = np.empty((count, min(2 * self.beam, ranked.shape[1])), dtype=np.int64)
        chosen: dict[int, Counter[int]] = {}  # tokens chosen in this step by the earlier groups of each sentence
        numbers = zip(*(x.tolist() for x in divmod(self.sentences, self.groups)), strict=True)
        for row, (sentence, group) in enumerate(numbers):
            if group and (earlier := chosen.get(sentence)):
                counts = np.array([earlier[token] for token in tokens[row].ravel().tolist()])
                ranked[row] -= self.diversity * counts
            order[row] = np.argsort(-ranked[row], kind="stable")[: order.shape[1]]
            continuing = [token for token in tokens[row].ravel()[order[row]].tolist() if token != EOS][: self.beam]
            chosen.setdefault(sentence, Counter()).update(continuing)
        return self.take(totals, order, log_p, tokens)
