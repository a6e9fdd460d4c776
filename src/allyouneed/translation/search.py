"""Greedy and beam search over any model that can `start` and `decode_step`.

Shapes: sentences; beam: hypotheses of a sentence; rows = sentences · beam. Scores are natural logarithms. What is
computed of a model is small, a few candidates a row, and is kept in NumPy, on whatever device the model is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokenizer import BOS, EOS, PAD, UNK

NEVER_SAID = [PAD, UNK, BOS]


class Cache(Protocol):
    """What a model keeps of the sources, and of what each row has said."""

    def select(self, rows: Tensor) -> None:
        """The rows that go on, of those there were, in their new order; one may go on several times [rows]."""

    def keep_sentences(self, sentences: Tensor) -> None:
        """The sentences that go on, of those there were, in order [sentences]."""


class Model(Protocol):
    """What search needs of a model: two methods. One that has a faster way to its best words has a third, `choose`,
    and one that does whole searches two more, `greedy` and `beam_search`."""

    def start(self, source_ids: Tensor) -> Cache:
        """source_ids [sentences, source], padded -> a cache with one row a sentence, which has said nothing."""

    def decode_step(self, tokens: Tensor, cache: Any) -> Tensor:
        """The last token of every row -> logits of the next [rows, vocabulary]. cache: of its own `start`."""


class Choice(NamedTuple):
    """Of each row the likeliest words, best first: log probabilities and ids [rows, count]; that of the end [rows]."""

    log_p: np.ndarray
    words: np.ndarray
    end_log_p: np.ndarray


class Source(NamedTuple):
    """What rows come from: their device, constraints and numbers of sentences [rows]."""

    device: torch.device
    constraints: TokenSelector | None
    sentences: np.ndarray


class Hypothesis(NamedTuple):
    """ids without start and end; log_probability of ids and end, `token_log_p` of each; score: log_probability over
    the length penalty."""

    ids: list[int]
    log_probability: float
    score: float
    token_log_p: list[float]


@overload
def length_penalty(length: int, alpha: float) -> float: ...


@overload
def length_penalty(length: np.ndarray, alpha: float) -> np.ndarray: ...


def length_penalty(length: int | np.ndarray, alpha: float) -> float | np.ndarray:
    """((5 + |Y|) / 6)^α of Wu et al. 2016, by which section 6.1 divides; |Y| counts the end of sentence."""
    return ((5 + length) / 6) ** alpha


class TokenSelector(Protocol):
    """What else decides on the next word: see `constraints.py`."""

    def choose(self, logits: Tensor, said: np.ndarray, sentences: np.ndarray, count: int) -> Choice:
        """logits [rows, vocabulary], in place; said [rows, length], with the start; sentences [rows]: their numbers."""


def choose(model: Model, said: np.ndarray, cache: Cache, count: int, source: Source, scores: bool = True) -> Choice:
    """The likeliest `count` words after what each row has said, [rows, length] or its last word [rows, 1]. Padding,
    unknown and start are never said. Without `scores` the values need not be probabilities."""
    tokens = said[:, -1]
    if hasattr(model, "choose") and source.constraints is None:
        return model.choose(tokens, cache, count, scores)
    logits = model.decode_step(torch.from_numpy(np.ascontiguousarray(tokens)).to(source.device), cache).float()
    if source.constraints is None:
        return best_of(logits, count)
    return source.constraints.choose(logits, said, source.sentences, count)


def best_of(logits: Tensor, count: int) -> Choice:
    """logits [rows, vocabulary], in place."""
    logits[:, NEVER_SAID] = -torch.inf
    log_p = logits.log_softmax(dim=-1)
    top, words = log_p.topk(min(count, logits.shape[1]), dim=-1)
    return Choice(*(x.cpu().numpy() for x in (top, words, log_p[:, EOS])))


@torch.inference_mode()
def greedy(
    model: Model,
    source_ids: Tensor,
    longest: Sequence[int],
    alpha: float = 0.0,
    scores: bool = True,
    constraints: TokenSelector | None = None,
) -> list[Hypothesis]:
    """The likeliest next token, always. longest[i]: subwords that sentence i may have at most, end not counted.

    Without `scores` the hypotheses' scores are nan, which may take less time; what is said is the same, ties of
    rounding aside.
    """
    if constraints is None and hasattr(model, "greedy"):
        found = model.greedy(source_ids, longest, scores)
        return [
            _hypothesis(ids[: count - 1].tolist(), log_p[:count].tolist() if scores else [math.nan] * count, alpha)
            for ids, log_p, count in zip(*found, strict=True)
        ]
    cache = model.start(source_ids)
    limits = np.asarray(longest)
    sentences = np.arange(len(source_ids))  # that are not finished, in the order of rows
    ids: list[list[int]] = [[BOS] for _ in sentences]
    log_p: list[list[float]] = [[] for _ in sentences]
    tokens = np.full(len(sentences), BOS)
    length = 0
    while len(sentences):
        length += 1
        said = tokens[:, None] if constraints is None else np.array([ids[sentence] for sentence in sentences])
        best = choose(model, said, cache, 1, Source(source_ids.device, constraints, sentences), scores)
        at_limit = length > limits[sentences]
        tokens = np.where(at_limit, EOS, best.words[:, 0])
        step_log_p = np.where(at_limit, best.end_log_p, best.log_p[:, 0])
        for sentence, token, value in zip(sentences.tolist(), tokens.tolist(), step_log_p.tolist(), strict=True):
            ids[sentence].append(token)
            log_p[sentence].append(value if scores else math.nan)
        going_on = np.flatnonzero(tokens != EOS)
        if len(going_on) < len(sentences):
            rows = torch.from_numpy(going_on).to(source_ids.device)
            cache.select(rows)
            cache.keep_sentences(rows)
            tokens, sentences = tokens[going_on], sentences[going_on]
    return [_hypothesis(said[1:-1], values, alpha) for said, values in zip(ids, log_p, strict=True)]


@torch.inference_mode()
def beam_search(
    model: Model,
    source_ids: Tensor,
    longest: Sequence[int],
    beam_size: int,
    alpha: float,
    num_hypotheses: int = 1,
    constraints: TokenSelector | None = None,
) -> list[list[Hypothesis]]:
    """The best `num_hypotheses` (at most `beam_size`) of each sentence, best first.

    A sentence is finished when no hypothesis still alive could overtake the finished ones, even if it grew to the
    longest length at no further cost: stopping early (6.1) without changing the result.
    """
    if constraints is None and hasattr(model, "beam_search"):
        ids, log_p, lengths, known = model.beam_search(source_ids, longest, beam_size, alpha, num_hypotheses)
        return [
            [
                _hypothesis(ids[i, j, : lengths[i, j] - 1].tolist(), log_p[i, j, : lengths[i, j]].tolist(), alpha)
                for j in range(known[i])
            ]
            for i in range(len(known))
        ]
    return BeamSearch(model, source_ids, longest, beam_size, alpha, num_hypotheses, constraints).run()


class Candidates(NamedTuple):
    """Continuations of each sentence, best first: their scores, their parents' places in the beam, their last tokens
    and what these add [sentences, 2 · beam]."""

    scores: np.ndarray
    parents: np.ndarray
    tokens: np.ndarray
    log_p: np.ndarray


class BeamSearch:
    """The state of a search, of the sentences going on.

    scores [sentences, beam], said and its log_p [sentences, beam, length]; the beam is 1 before the first step, since
    all hypotheses begin alike. width: of the beam that the cache's rows still stand for. worst: of each sentence the
    score that a hypothesis must beat to be wanted. of_sentences: names of what has an entry for each sentence.
    """

    of_sentences: tuple[str, ...] = ("scores", "said", "log_p", "sentences", "longest", "worst")

    def __init__(
        self,
        model: Model,
        source_ids: Tensor,
        longest: Sequence[int] | np.ndarray,
        beam_size: int,
        alpha: float,
        num_hypotheses: int,
        constraints: TokenSelector | None = None,
    ):
        count = len(source_ids)
        self.model, self.beam, self.alpha, self.wanted = model, beam_size, alpha, num_hypotheses
        self.looked_at = 2 * beam_size  # words after each hypothesis
        self.device, self.constraints = source_ids.device, constraints
        self.cache = model.start(source_ids)
        self.finished: list[list[Hypothesis]] = [[] for _ in range(count)]
        self.sentences = np.arange(count)
        self.longest = np.asarray(longest)
        self.worst = np.full(count, -np.inf)
        self.width = 1
        self.scores = np.zeros((count, 1))
        self.said = np.full((count, 1, 1), BOS)
        self.log_p = np.zeros((count, 1, 1))

    def run(self) -> list[list[Hypothesis]]:
        while len(self.sentences):
            length = self.said.shape[2]  # of a hypothesis that ends now, its end included
            candidates = self._candidates(length)
            self._finish(*candidates, length)
            self._leave(self._go_on(*candidates), length)
        return [sorted(found, key=lambda hypothesis: -hypothesis.score)[: self.wanted] for found in self.finished]

    def _candidates(self, length: int) -> Candidates:
        """The best 2 · beam continuations of each sentence, so that `beam` are left if all others end."""
        log_p, words = self._continuations(length)
        totals = (self.scores[:, :, None] + log_p).reshape(len(self.scores), -1)
        places = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * self.beam]
        return self._taken(totals, places, log_p, words)

    def _continuations(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The best words after each hypothesis, and what they add: log_p, words [sentences, beam, words]."""
        count, beam = self.scores.shape
        source = Source(self.device, self.constraints, np.repeat(self.sentences, beam))
        best = choose(self.model, self.said.reshape(count * beam, -1), self.cache, self.looked_at, source)
        log_p, words = best.log_p.astype(np.float64), best.words
        at_limit = np.repeat(length > self.longest, beam)
        if at_limit.any():  # as long as they may be: only the end is left to them
            log_p[at_limit], words[at_limit, 0] = -np.inf, EOS
            log_p[at_limit, 0] = best.end_log_p[at_limit]
        return log_p.reshape(count, beam, -1), words.reshape(count, beam, -1)

    @staticmethod
    def _taken(totals: np.ndarray, places: np.ndarray, log_p: np.ndarray, words: np.ndarray) -> Candidates:
        """Of all continuations [sentences, beam · words] those at places."""
        count, _, width = words.shape
        every = np.arange(count)[:, None]
        log_p, words = (x.reshape(count, -1)[every, places] for x in (log_p, words))
        return Candidates(totals[every, places], places // width, words, log_p)

    def _finish(
        self, scores: np.ndarray, parents: np.ndarray, tokens: np.ndarray, log_p: np.ndarray, length: int
    ) -> None:
        """Those of the best `beam` candidates that end are hypotheses."""
        ending = (tokens[:, : self.beam] == EOS) & (scores[:, : self.beam] > -np.inf)
        for row, place in zip(*(x.tolist() for x in np.nonzero(ending)), strict=True):
            parent = parents[row, place]
            values = [*self.log_p[row, parent, 1:].tolist(), float(log_p[row, place])]
            found = self.finished[self.sentences[row]]
            found.append(_hypothesis(self.said[row, parent, 1:].tolist(), values, self.alpha))
            if len(found) >= self.wanted:
                self.worst[row] = sorted(hypothesis.score for hypothesis in found)[-self.wanted]

    def _go_on(self, scores: np.ndarray, parents: np.ndarray, tokens: np.ndarray, log_p: np.ndarray) -> np.ndarray:
        """The best `beam` of the others go on. -> their parents' places [sentences, beam]."""
        places, alive = self._places_going_on(tokens), np.where(tokens == EOS, -np.inf, scores)
        every, self.width = np.arange(len(scores))[:, None], self.said.shape[1]
        self.scores, parents, tokens, log_p = (x[every, places] for x in (alive, parents, tokens, log_p))
        self.said = np.concatenate([self.said[every, parents], tokens[:, :, None]], axis=2)
        self.log_p = np.concatenate([self.log_p[every, parents], log_p[:, :, None]], axis=2)
        return parents

    def _places_going_on(self, tokens: np.ndarray) -> np.ndarray:
        """Of the candidates that do not end, the first `beam` [sentences, beam]."""
        return np.argsort(tokens == EOS, axis=1, kind="stable")[:, : self.beam]

    def _leave(self, parents: np.ndarray, length: int) -> None:
        """Sentences that are finished leave the batch; rows of the cache follow their hypotheses."""
        stay = np.flatnonzero(~self._are_done(length))
        rows = (stay[:, None] * self.width + parents[stay]).ravel()
        self.cache.select(torch.from_numpy(rows).to(self.device))
        if len(stay) < len(self.sentences):
            self.cache.keep_sentences(torch.from_numpy(stay).to(self.device))
            for name in self.of_sentences:
                setattr(self, name, getattr(self, name)[stay])

    def _are_done(self, length: int) -> np.ndarray:
        """Of each sentence: at its limit, or nothing alive, or nothing alive that could still be wanted."""
        best_alive = self.scores.max(axis=1)
        kindest = self.longest + 1 if self.alpha > 0 else length + 1  # the length whose penalty helps most
        surpassed = self.worst >= best_alive / length_penalty(kindest, self.alpha)
        return (length > self.longest) | (best_alive == -np.inf) | (surpassed & (self.worst > -np.inf))


def _hypothesis(ids: list[int], token_log_p: list[float], alpha: float) -> Hypothesis:
    total = sum(token_log_p)
    return Hypothesis(ids, total, total / length_penalty(len(ids) + 1, alpha), token_log_p)
