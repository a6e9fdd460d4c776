"""Beam search with early stopping (section 6.1 of the paper), for any model with `start` and `decode_step`.

Shapes are those of `search.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.translation.search import (
    Hypothesis,
    LengthPenalty,
    Model,
    RowContext,
    TokenSelector,
    choose,
    make_hypothesis,
)
from allyouneed.translation.stopping import check_needed


@torch.inference_mode()
def beam_search(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    beam_size: int,
    penalty: LengthPenalty,
    num_hypotheses: int = 1,
    constraints: TokenSelector | None = None,
) -> list[list[Hypothesis]]:
    """Search with a beam.

    A sentence is finished when no unfinished hypothesis can still overtake the finished ones, even if it reached the
    most favourable length at no further cost. Search stops early, as in section 6.1, without changing the result.

    Args:
        model: The model.
        source_ids: Padded source ids, [sentences, source].
        max_lengths: Maximum number of tokens of each sentence, the end not counted.
        beam_size: Hypotheses kept at each step.
        penalty: The length penalty.
        num_hypotheses: Number of hypotheses to return for each sentence, at most `beam_size`.
        constraints: Constraints on the next token.

    Returns:
        The hypotheses of each sentence, best first.
    """
    if constraints is None and hasattr(model, "beam_search"):
        ids, log_p, lengths, counts = model.beam_search(source_ids, max_lengths, beam_size, penalty, num_hypotheses)
        return [
            [
                make_hypothesis(ids[i, j, : lengths[i, j] - 1].tolist(), log_p[i, j, : lengths[i, j]].tolist(), penalty)
                for j in range(counts[i])
            ]
            for i in range(len(counts))
        ]
    return BeamSearch(model, source_ids, max_lengths, beam_size, penalty, num_hypotheses, constraints).run()


class Candidates(NamedTuple):
    """Continuations of the hypotheses of each sentence, best first; all arrays are [sentences, 2 · beam].

    Attributes:
        scores: Log probabilities of the continued hypotheses.
        parents: Index in the beam of the hypothesis that is continued.
        tokens: The tokens added.
        log_p: Log probabilities of these tokens.
    """

    scores: np.ndarray
    parents: np.ndarray
    tokens: np.ndarray
    log_p: np.ndarray


class BeamSearch:
    """State of a beam search over a batch. Subclasses change how candidates are found.

    Attributes:
        scores: Log probability of each unfinished hypothesis, [sentences, beam]. The beam is 1 before the first step,
            since all hypotheses are identical at the start.
        generated: Token ids of these hypotheses, beginning with the start of sentence, [sentences, beam, length].
        log_p: Log probabilities of these tokens, [sentences, beam, length].
        sentences: Indices of the unfinished sentences, [sentences].
        max_lengths: Maximum number of tokens, the end not counted, [sentences].
        threshold: Score that a hypothesis must exceed to be among the best `num_hypotheses`, [sentences].
        cache_beam: Number of rows per sentence in the model's cache.
        per_sentence: Names of the attributes with an entry for each unfinished sentence.
    """

    per_sentence: tuple[str, ...] = ("scores", "generated", "log_p", "sentences", "max_lengths", "threshold")

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        max_lengths: Sequence[int] | np.ndarray,
        beam_size: int,
        penalty: LengthPenalty,
        num_hypotheses: int,
        constraints: TokenSelector | None = None,
    ):
        count = len(source_ids)
        self.model, self.beam, self.penalty, self.num_hypotheses = model, beam_size, penalty, num_hypotheses
        self.tokens_per_row = 2 * beam_size  # next tokens considered for each hypothesis
        self.device, self.constraints = source_ids.device, constraints
        self.cache = model.start(source_ids)
        self.finished: list[list[Hypothesis]] = [[] for _ in range(count)]
        self.sentences = np.arange(count)
        self.max_lengths = np.asarray(max_lengths)
        self.threshold = np.full(count, -np.inf)
        self.cache_beam = 1
        self.scores = np.zeros((count, 1))
        self.generated = np.full((count, 1, 1), BOS)
        self.log_p = np.zeros((count, 1, 1))

    def run(self) -> list[list[Hypothesis]]:
        """Search until all sentences are finished, and return the hypotheses of each sentence, best first."""
        while len(self.sentences):
            check_needed()
            length = self.generated.shape[2]  # of a hypothesis that ends in this step, the end of sentence included
            candidates = self.candidates(length)
            self._collect_finished(candidates, length)
            self._remove_finished(self.advance(candidates), length)
        return [sorted(found, key=lambda one: -one.score)[: self.num_hypotheses] for found in self.finished]

    def candidates(self, length: int) -> Candidates:
        """Find the best 2 · beam continuations of each sentence: if `beam` of them end, `beam` others can continue."""
        log_p, tokens = self.continuations(length)
        totals = (self.scores[:, :, None] + log_p).reshape(len(self.scores), -1)
        order = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * self.beam]
        return self.take(totals, order, log_p, tokens)

    def continuations(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Decode one step; return log probabilities and ids of the top tokens, [sentences, beam, tokens_per_row]."""
        count, beam = self.scores.shape
        context = RowContext(self.device, self.constraints, np.repeat(self.sentences, beam))
        best = choose(self.model, self.generated.reshape(count * beam, -1), self.cache, self.tokens_per_row, context)
        log_p, tokens = best.log_p.astype(np.float64), best.tokens
        at_limit = np.repeat(length > self.max_lengths, beam)
        if at_limit.any():  # only the end of sentence is possible
            log_p[at_limit], tokens[at_limit, 0] = -np.inf, EOS
            log_p[at_limit, 0] = best.end_log_p[at_limit]
        return log_p.reshape(count, beam, -1), tokens.reshape(count, beam, -1)

    @staticmethod
    def take(totals: np.ndarray, order: np.ndarray, log_p: np.ndarray, tokens: np.ndarray) -> Candidates:
        """Select the continuations with the indices `order` in [sentences, beam · tokens_per_row]."""
        count, _, width = tokens.shape
        every = np.arange(count)[:, None]
        log_p, tokens = (x.reshape(count, -1)[every, order] for x in (log_p, tokens))
        return Candidates(totals[every, order], order // width, tokens, log_p)

    def _collect_finished(self, candidates: Candidates, length: int) -> None:
        """Add those of the best `beam` candidates that end to the finished hypotheses."""
        scores, parents, tokens, log_p = candidates
        ending = (tokens[:, : self.beam] == EOS) & (scores[:, : self.beam] > -np.inf)
        for row, column in zip(*(x.tolist() for x in np.nonzero(ending)), strict=True):
            parent = parents[row, column]
            values = [*self.log_p[row, parent, 1:].tolist(), float(log_p[row, column])]
            found = self.finished[self.sentences[row]]
            found.append(make_hypothesis(self.generated[row, parent, 1:].tolist(), values, self.penalty))
            if len(found) >= self.num_hypotheses:
                self.threshold[row] = sorted(hypothesis.score for hypothesis in found)[-self.num_hypotheses]

    def advance(self, candidates: Candidates) -> np.ndarray:
        """Continue with the best `beam` candidates that do not end, and return their parents, [sentences, beam]."""
        scores, parents, tokens, log_p = candidates
        columns, alive = self.unfinished(tokens), np.where(tokens == EOS, -np.inf, scores)
        every, self.cache_beam = np.arange(len(scores))[:, None], self.generated.shape[1]
        self.scores, parents, tokens, log_p = (x[every, columns] for x in (alive, parents, tokens, log_p))
        self.generated = np.concatenate([self.generated[every, parents], tokens[:, :, None]], axis=2)
        self.log_p = np.concatenate([self.log_p[every, parents], log_p[:, :, None]], axis=2)
        return parents

    def unfinished(self, tokens: np.ndarray) -> np.ndarray:
        """Return the columns of the first `beam` candidates that do not end, [sentences, beam]."""
        return np.argsort(tokens == EOS, axis=1, kind="stable")[:, : self.beam]

    def _remove_finished(self, parents: np.ndarray, length: int) -> None:
        """Remove finished sentences from the batch and reorder the rows of the cache."""
        stay = np.flatnonzero(~self._is_finished(length))
        rows = (stay[:, None] * self.cache_beam + parents[stay]).ravel()
        self.cache.select(torch.from_numpy(rows).to(self.device))
        if len(stay) < len(self.sentences):
            self.cache.keep_sentences(torch.from_numpy(stay).to(self.device))
            for name in self.per_sentence:
                setattr(self, name, getattr(self, name)[stay])

    def _is_finished(self, length: int) -> np.ndarray:
        """Return whether each sentence is at its limit or has no unfinished hypothesis that could still win."""
        best_alive = self.scores.max(axis=1)
        best_length = self.max_lengths + 1 if self.penalty.alpha > 0 else length + 1  # the most favourable length
        surpassed = self.threshold >= best_alive / self.penalty.at(best_length)
        return (length > self.max_lengths) | (best_alive == -np.inf) | (surpassed & (self.threshold > -np.inf))
