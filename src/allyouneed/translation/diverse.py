"""Diverse beam search (Vijayakumar et al. 2016): hypotheses in groups, of which each keeps away from those before it.

At each step the groups choose one after another. A word that earlier groups have just said counts less, by
`diversity_penalty` times how many of their hypotheses said it (the paper's Hamming diversity); by that candidates are
ranked, while their scores stay the model's. The first group is an ordinary beam search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import EOS
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.search import BeamSearch, Candidates, Hypothesis, Model


@torch.inference_mode()
def diverse_beam_search(
    model: Model,
    source_ids: Tensor,
    longest: Sequence[int],
    beam_size: int,
    alpha: float,
    groups: int,
    penalty: float,
    num_hypotheses: int = 1,
    constraints: Constraints | None = None,
) -> list[list[Hypothesis]]:
    """As `search.beam_search`, of `groups` beams of beam_size / groups each; best first, whichever group they are of.

    What several groups came to is given once, so that there may be fewer than `num_hypotheses`.
    """
    given = (model, source_ids, longest, beam_size, alpha, groups, penalty)
    found = DiverseBeamSearch(*given, num_hypotheses, constraints).run()
    together = []
    for first in range(0, len(found), groups):
        different = {tuple(one.ids): one for group in found[first : first + groups] for one in group}
        together.append(sorted(different.values(), key=lambda hypothesis: -hypothesis.score)[:num_hypotheses])
    return together


class DiverseBeamSearch(BeamSearch):
    """Each group of each sentence is a search of its own: number `sentence · groups + group` among all."""

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        longest: Sequence[int],
        beam_size: int,
        alpha: float,
        groups: int,
        penalty: float,
        num_hypotheses: int,
        constraints: Constraints | None = None,
    ):
        self.groups, self.penalty = groups, penalty
        sources, limits = source_ids.repeat_interleave(groups, dim=0), np.repeat(np.asarray(longest), groups)
        if constraints is not None and constraints.prefixes:
            constraints = replace(
                constraints, prefixes=[prefix for prefix in constraints.prefixes for _ in range(groups)]
            )
        own = beam_size // groups
        super().__init__(model, sources, limits, own, alpha, min(own, num_hypotheses), constraints)
        self.looked_at = own + beam_size  # words a row: so many are enough, however many of them count less

    def _candidates(self, length: int) -> Candidates:
        log_p, words = self._continuations(length)
        count = len(words)
        totals = (self.scores[:, :, None] + log_p).reshape(count, -1)
        ranked = totals.copy()
        places = np.empty((count, min(2 * self.beam, ranked.shape[1])), dtype=np.int64)
        said: dict[int, Counter[int]] = {}  # by earlier groups of each sentence, at this step
        numbers = zip(*(x.tolist() for x in divmod(self.sentences, self.groups)), strict=True)
        for unit, (sentence, group) in enumerate(numbers):
            if group and (before := said.get(sentence)):
                counts = np.array([before[word] for word in words[unit].ravel().tolist()])
                ranked[unit] -= self.penalty * counts
            order = np.argsort(-ranked[unit], kind="stable")[: places.shape[1]]
            places[unit] = order
            going_on = [word for word in words[unit].ravel()[order].tolist() if word != EOS][: self.beam]
            said.setdefault(sentence, Counter()).update(going_on)
        return self._taken(totals, places, log_p, words)
