"""Greedy and beam search over any model that can `start` and `decode_step`.

Shapes: sentences; beam: hypotheses of a sentence; rows = sentences · beam. Scores are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from allyouneed.data.tokenizer import BOS, EOS, PAD, UNK

NEVER_SAID = [PAD, UNK, BOS]


class Cache(Protocol):
    def select(self, rows: Tensor) -> None: ...

    def keep_sentences(self, sentences: Tensor) -> None: ...


class Model(Protocol):
    """What search needs of a model: two methods."""

    def start(self, source_ids: Tensor) -> Cache: ...

    def decode_step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]."""


class Hypothesis(NamedTuple):
    """ids without start and end; log_probability of ids and end; score: log_probability over the length penalty."""

    ids: list[int]
    log_probability: float
    score: float


def length_penalty(length: int | Tensor, alpha: float) -> float | Tensor:
    """((5 + |Y|) / 6)^α of Wu et al. 2016, by which section 6.1 divides; |Y| counts the end of sentence."""
    return ((5 + length) / 6) ** alpha


@torch.inference_mode()
def greedy(model: Model, source_ids: Tensor, longest: Sequence[int], alpha: float = 0.0) -> list[Hypothesis]:
    """The likeliest next token, always. longest[i]: subwords that sentence i may have at most, end not counted."""
    cache = model.start(source_ids)
    sentences = list(range(len(source_ids)))  # that are not finished, in the order of rows
    ids: list[list[int]] = [[] for _ in sentences]
    totals = [0.0 for _ in sentences]
    tokens = source_ids.new_full((len(sentences),), BOS)
    length = 0
    while sentences:
        length += 1
        log_normaliser, logits = _speakable(model.decode_step(tokens, cache))
        _end(logits, [length > longest[sentence] for sentence in sentences])
        top, tokens = logits.max(dim=-1)
        log_p = (top - log_normaliser[:, 0]).tolist()
        going_on = []
        for row, (sentence, token) in enumerate(zip(sentences, tokens.tolist(), strict=True)):
            totals[sentence] += log_p[row]
            if token != EOS:
                ids[sentence].append(token)
                going_on.append(row)
        if len(going_on) < len(sentences):
            rows = torch.tensor(going_on, dtype=torch.long, device=tokens.device)
            cache.select(rows)
            cache.keep_sentences(rows)
            tokens = tokens[rows]
            sentences = [sentences[row] for row in going_on]
    return [
        Hypothesis(said, total, total / length_penalty(len(said) + 1, alpha))
        for said, total in zip(ids, totals, strict=True)
    ]


@torch.inference_mode()
def beam_search(
    model: Model, source_ids: Tensor, longest: Sequence[int], beam_size: int, alpha: float, num_hypotheses: int = 1
) -> list[list[Hypothesis]]:
    """The best `num_hypotheses` (at most `beam_size`) of each sentence, best first.

    A sentence is finished when no hypothesis still alive could overtake the finished ones, even if it grew to the
    longest length at no further cost: stopping early (6.1) without changing the result.
    """
    return BeamSearch(model, source_ids, longest, beam_size, alpha, num_hypotheses).run()


class BeamSearch:
    """The state of a search, of the sentences going on. scores [sentences, beam], said [sentences, beam, length]."""

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        longest: Sequence[int],
        beam_size: int,
        alpha: float,
        num_hypotheses: int,
    ):
        count = len(source_ids)
        self.model, self.beam, self.alpha, self.wanted = model, beam_size, alpha, num_hypotheses
        self.cache = model.start(source_ids)
        self.finished: list[list[Hypothesis]] = [[] for _ in range(count)]
        self.sentences = list(range(count))
        self.longest = list(longest)
        self.scores = torch.full((count, beam_size), -torch.inf, device=source_ids.device)
        self.scores[:, 0] = 0.0  # all hypotheses begin alike: only one may go on
        self.said = source_ids.new_full((count, beam_size, 1), BOS)

    def run(self) -> list[list[Hypothesis]]:
        while self.sentences:
            length = self.said.shape[2]  # of a hypothesis that ends now, its end included
            scores, parents, tokens = self._candidates(length)
            self._finish(scores, parents, tokens, length)
            parents = self._go_on(scores.masked_fill(tokens == EOS, -torch.inf), parents, tokens)
            self._leave(parents, length)
        return [sorted(found, key=lambda hypothesis: -hypothesis.score)[: self.wanted] for found in self.finished]

    def _candidates(self, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best 2 · beam continuations of each sentence, so that `beam` are left if all others end.

        Their scores, their parents' places in the beam, their last tokens: [sentences, 2 · beam].
        """
        count = len(self.sentences)
        log_normaliser, logits = _speakable(self.model.decode_step(self.said[:, :, -1].flatten(), self.cache))
        _end(logits, [length > longest for longest in self.longest for _ in range(self.beam)])
        width = min(2 * self.beam, logits.shape[1])
        top, tokens = logits.topk(width, dim=-1)
        totals = (self.scores.view(-1, 1) + top - log_normaliser).view(count, -1)
        scores, places = totals.topk(min(2 * self.beam, totals.shape[1]), dim=-1)
        return scores, places // width, tokens.view(count, -1).gather(1, places)

    def _finish(self, scores: Tensor, parents: Tensor, tokens: Tensor, length: int) -> None:
        """Those of the best `beam` candidates that end are hypotheses."""
        penalty = length_penalty(length, self.alpha)
        ending = (tokens[:, : self.beam] == EOS) & (scores[:, : self.beam] > -torch.inf)
        for row, place in ending.nonzero().tolist():
            ids = self.said[row, parents[row, place], 1:].tolist()
            score = float(scores[row, place])
            self.finished[self.sentences[row]].append(Hypothesis(ids, score, score / penalty))

    def _go_on(self, scores: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """The best `beam` of the others go on. -> their parents' places [sentences, beam]."""
        self.scores, places = scores.topk(self.beam, dim=-1)
        parents, tokens = parents.gather(1, places), tokens.gather(1, places)
        history = self.said.gather(1, parents[:, :, None].expand(-1, -1, self.said.shape[2]))
        self.said = torch.cat([history, tokens[:, :, None]], dim=2)
        return parents

    def _leave(self, parents: Tensor, length: int) -> None:
        """Sentences that are finished leave the batch; rows of the cache follow their hypotheses."""
        best_alive = self.scores[:, 0].tolist()
        staying = [row for row in range(len(self.sentences)) if not self._is_done(row, best_alive[row], length)]
        stay = torch.tensor(staying, dtype=torch.long, device=self.said.device)
        self.cache.select((stay[:, None] * self.beam + parents[stay]).flatten())
        if len(staying) < len(self.sentences):
            self.cache.keep_sentences(stay)
            self.scores, self.said = self.scores[stay], self.said[stay]
            self.sentences = [self.sentences[row] for row in staying]
            self.longest = [self.longest[row] for row in staying]

    def _is_done(self, row: int, best_alive: float, length: int) -> bool:
        longest, found = self.longest[row], self.finished[self.sentences[row]]
        if length > longest or best_alive == -torch.inf:
            return True
        if len(found) < self.wanted:
            return False
        worst_wanted = sorted((hypothesis.score for hypothesis in found), reverse=True)[self.wanted - 1]
        kindest = longest + 1 if self.alpha > 0 else length + 1  # the length whose penalty helps most
        return worst_wanted >= best_alive / length_penalty(kindest, self.alpha)


def _speakable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Padding, unknown and start are never said. -> log normaliser [rows, 1] and logits [rows, vocabulary], in fp32."""
    logits = logits.float()
    logits[:, NEVER_SAID] = -torch.inf
    return logits.logsumexp(dim=-1, keepdim=True), logits


def _end(logits: Tensor, rows: Sequence[bool]) -> None:
    """Leaves nothing but the end of sentence to these rows, which are as long as they may be."""
    if any(rows):
        at_limit = torch.tensor(rows, device=logits.device)
        end = logits[at_limit, EOS]
        logits[at_limit] = -torch.inf
        logits[at_limit, EOS] = end
