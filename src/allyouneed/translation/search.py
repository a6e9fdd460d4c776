"""Interface between models and search, the choice of next tokens, and greedy search.

Shapes: `sentences` of a batch; `beam`, hypotheses per sentence; `rows` = sentences · beam. Scores are natural
logarithms. The state of a search is in NumPy arrays on the CPU, since it needs only a few candidates per row; the model
may be on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.translation.stopping import check_needed

NEVER_GENERATED = [PAD, UNK, BOS]


class SearchCache(Protocol):
    """Decoder state that a model keeps between steps: the encoded sources, and keys and values of each row."""

    def select(self, rows: Tensor) -> None:
        """Keep the rows with these indices, in this order; a row may occur several times.

        Args:
            rows: Row indices, [rows].
        """

    def keep_sentences(self, sentences: Tensor) -> None:
        """Keep the sources with these indices.

        Args:
            sentences: Sentence indices in ascending order, [sentences].
        """


class Model(Protocol):
    """Interface of a model that can be searched.

    A model may also have `choose`, which finds the top tokens of a step faster, and `greedy` and `beam_search`, which
    run a whole search; see `translation.engine.engine.Engine`.
    """

    def start(self, source_ids: Tensor) -> SearchCache:
        """Encode padded source ids [sentences, source] into a cache with one row per sentence."""

    def decode_step(self, tokens: Tensor, cache: Any) -> Tensor:
        """Decode one position: last token of each row [rows] -> logits of the next token [rows, vocabulary]."""


class TopTokens(NamedTuple):
    """Candidates for the next token of each row, best first.

    Attributes:
        log_p: Log probabilities, [rows, count].
        tokens: Token ids, [rows, count].
        end_log_p: Log probability of the end of sentence, [rows].
    """

    log_p: np.ndarray
    tokens: np.ndarray
    end_log_p: np.ndarray


class RowContext(NamedTuple):
    """Context of a decoding step besides the tokens.

    Attributes:
        device: Device of the model.
        constraints: Constraints on the next token, or None.
        sentences: Each row's sentence in the batch, [rows].
    """

    device: torch.device
    constraints: TokenSelector | None
    sentences: np.ndarray


class Hypothesis(NamedTuple):
    """A finished translation.

    Attributes:
        ids: Token ids without start and end of sentence.
        log_probability: Log probability of the tokens and the end of sentence, which may be forced at the maximum
            length.
        score: Log probability divided by the length penalty.
        token_log_p: Log probability of each token, the end of sentence included.
    """

    ids: list[int]
    log_probability: float
    score: float
    token_log_p: list[float]


class LengthPenalty(NamedTuple):
    """Length penalty ((k + |Y|) / (k + 1))^α by which log probabilities are divided; |Y| includes the end of sentence.

    Attributes:
        alpha: The exponent α; 0 for none.
        offset: The offset k: 5 in Wu et al. (2016), section 6.1. With 0 it is |Y|^α, as in Marian and other systems.
    """

    alpha: float
    offset: float = 5.0

    @classmethod
    def of(cls, settings: PenaltySettings) -> LengthPenalty:
        """Return the length penalty of a bundle's settings or of search options."""
        return cls(settings.length_penalty, settings.length_offset)

    @overload
    def at(self, length: int) -> float: ...

    @overload
    def at(self, length: np.ndarray) -> np.ndarray: ...

    def at(self, length: int | np.ndarray) -> float | np.ndarray:
        """Return the penalty of a translation of `length` tokens, the end of sentence included."""
        return ((self.offset + length) / (self.offset + 1)) ** self.alpha


NO_PENALTY = LengthPenalty(0.0)


class PenaltySettings(Protocol):
    """Settings with a length penalty: `SearchConfig` and `ResolvedOptions`."""

    @property
    def length_penalty(self) -> float:
        """The exponent α."""

    @property
    def length_offset(self) -> float:
        """The offset k."""


class TokenSelector(Protocol):
    """Selector of next tokens under constraints; see `constraints.Constraints`."""

    def choose(self, logits: Tensor, generated: np.ndarray, sentences: np.ndarray, count: int) -> TopTokens:
        """Choose the next tokens of each row.

        Args:
            logits: Logits, [rows, vocabulary]; changed in place.
            generated: Token ids so far, beginning with the start of sentence, [rows, length].
            sentences: Each row's sentence in the batch, [rows].
            count: Number of tokens per row.
        """


def choose(
    model: Model, generated: np.ndarray, cache: SearchCache, count: int, context: RowContext, scores: bool = True
) -> TopTokens:
    """Decode one step and choose the `count` most likely next tokens, except those in `NEVER_GENERATED`.

    Args:
        model: The model.
        generated: Token ids so far, [rows, length]; without constraints the last token is enough, [rows, 1].
        cache: The model's cache of the previous positions.
        count: Number of tokens per row.
        context: Device, constraints and sentences of the rows.
        scores: Whether `log_p` must contain log probabilities; otherwise only its order is defined.
    """
    last = generated[:, -1]
    if hasattr(model, "choose") and context.constraints is None:
        return model.choose(last, cache, count, scores)
    logits = model.decode_step(torch.from_numpy(np.ascontiguousarray(last)).to(context.device), cache).float()
    if context.constraints is None:
        return top_tokens(logits, count)
    return context.constraints.choose(logits, generated, context.sentences, count)


def top_tokens(logits: Tensor, count: int) -> TopTokens:
    """Return the `count` most likely tokens of logits [rows, vocabulary], which are changed in place."""
    logits[:, NEVER_GENERATED] = -torch.inf
    log_p = logits.log_softmax(dim=-1)
    top, tokens = log_p.topk(min(count, logits.shape[1]), dim=-1)
    return TopTokens(*(x.cpu().numpy() for x in (top, tokens, log_p[:, EOS])))


@torch.inference_mode()
def greedy(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    penalty: LengthPenalty = NO_PENALTY,
    scores: bool = True,
    constraints: TokenSelector | None = None,
    drafts: bool | None = None,
) -> list[Hypothesis]:
    """Generate the most likely next token at every step.

    Args:
        model: The model.
        source_ids: Padded source ids, [sentences, source].
        max_lengths: Maximum number of tokens of each sentence, the end not counted.
        penalty: The length penalty.
        scores: Whether to compute scores. Otherwise scores are NaN, and search may be faster; the tokens are the same,
            except for ties within rounding.
        constraints: Constraints on the next token.
        drafts: Whether to verify drafted tokens, which changes the speed only; None for where it pays.

    Returns:
        One hypothesis for each sentence.
    """
    if constraints is None and hasattr(model, "greedy"):
        found = model.greedy(source_ids, max_lengths, scores, drafts)
        return [
            make_hypothesis(
                ids[: count - 1].tolist(), log_p[:count].tolist() if scores else [math.nan] * count, penalty
            )
            for ids, log_p, count in zip(*found, strict=True)
        ]
    return _greedy(model, source_ids, max_lengths, penalty, scores, constraints)


def _greedy(
    model: Model,
    source_ids: Tensor,
    max_lengths: Sequence[int],
    penalty: LengthPenalty,
    scores: bool,
    constraints: TokenSelector | None,
) -> list[Hypothesis]:
    cache = model.start(source_ids)
    limits = np.asarray(max_lengths)
    sentences = np.arange(len(source_ids))  # unfinished sentences, in the order of the rows
    ids: list[list[int]] = [[BOS] for _ in sentences]
    log_p: list[list[float]] = [[] for _ in sentences]
    tokens = np.full(len(sentences), BOS)
    length = 0
    while len(sentences):
        check_needed()
        length += 1
        generated = tokens[:, None] if constraints is None else np.array([ids[sentence] for sentence in sentences])
        best = choose(model, generated, cache, 1, RowContext(source_ids.device, constraints, sentences), scores)
        at_limit = length > limits[sentences]
        tokens = np.where(at_limit, EOS, best.tokens[:, 0])
        step_log_p = np.where(at_limit, best.end_log_p, best.log_p[:, 0])
        for sentence, token, value in zip(sentences.tolist(), tokens.tolist(), step_log_p.tolist(), strict=True):
            ids[sentence].append(token)
            log_p[sentence].append(value if scores else math.nan)
        unfinished = np.flatnonzero(tokens != EOS)
        if len(unfinished) < len(sentences):
            rows = torch.from_numpy(unfinished).to(source_ids.device)
            cache.select(rows)
            cache.keep_sentences(rows)
            tokens, sentences = tokens[unfinished], sentences[unfinished]
    return [make_hypothesis(generated[1:-1], values, penalty) for generated, values in zip(ids, log_p, strict=True)]


def make_hypothesis(ids: list[int], token_log_p: list[float], penalty: LengthPenalty) -> Hypothesis:
    """Make a hypothesis from its token ids and the log probabilities of its tokens and the end of sentence."""
    total = sum(token_log_p)
    return Hypothesis(ids, total, total / penalty.at(len(ids) + 1), token_log_p)
