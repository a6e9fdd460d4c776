"""Whole searches in compiled code, with one model or with an ensemble whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.translation.engine.beam import BeamState, BeamTask, Candidate, FinishedHypothesis, search_beam
from allyouneed.translation.engine.engine_cache import EngineCache
from allyouneed.translation.engine.greedy import GreedyState, greedy
from allyouneed.translation.engine.members import Member, Members
from allyouneed.translation.engine.top_tokens import NextTokens
from allyouneed.translation.search import LengthPenalty
from allyouneed.translation.stopping import check_needed

if TYPE_CHECKING:
    from allyouneed.translation.engine.engine import Engine

PART = 96  # rows that pass through the decoder together
_STEPS = 16  # search steps per call; after each call, parts that have become small are merged


@torch.inference_mode()
def search_greedily(
    engines: Sequence[Engine], source_ids: Tensor, longest: Sequence[int], scores: bool
) -> tuple[np.ndarray, ...]:
    """Run a whole greedy search; see `translation.search.greedy`.

    Args:
        engines: The models, with one vocabulary.
        source_ids: Padded source ids, [sentences, source].
        longest: Maximum number of tokens of each sentence, the end not counted.
        scores: Whether log probabilities are needed.

    Returns:
        Token ids and log probabilities, each [sentences, max_length], and the number of valid tokens, the end
        included [sentences].
    """
    caches, limits = [engine.start(source_ids) for engine in engines], np.array(longest, dtype=np.int64)
    sentences, max_length = np.arange(len(limits)), int(limits.max(initial=0)) + 1
    tokens, results = np.full(len(limits), BOS, dtype=np.int64), (len(limits), max_length)
    ids, log_p = np.empty(results, dtype=np.int64), np.empty(results, dtype=np.float32)
    lengths = np.zeros(len(limits), dtype=np.int64)
    while rows := len(tokens):
        check_needed()
        part_rows, parts = min(rows, PART), -(-rows // PART)
        active = np.empty(parts, dtype=np.int64)
        steps = min(_STEPS, max_length - caches[0].length)
        models = _prepare(engines, caches, tokens, (parts, part_rows), steps, 1, in_beams=False)
        search = GreedyState(
            rows=rows,
            limits=limits,
            sentences=sentences,
            active=active,
            max_length=max_length,
            ids=ids,
            log_p=log_p,
            lengths=lengths,
        )
        greedy(parts, models, next_tokens(parts * part_rows, 1, scores), search)
        left = _active_items(active, part_rows)
        tokens, limits, sentences = tokens[left], limits[left], sentences[left]
        for cache in caches:
            cache.select(left)
    return ids, log_p, lengths


@torch.inference_mode()
def search_with_beam(
    engines: Sequence[Engine],
    source_ids: Tensor,
    longest: Sequence[int],
    beam: int,
    penalty: LengthPenalty,
    num_hypotheses: int,
) -> tuple[np.ndarray, ...]:
    """Run a whole beam search; see `translation.beam_search.beam_search`.

    Args:
        engines: The models, with one vocabulary.
        source_ids: Padded source ids, [sentences, source].
        longest: Maximum number of tokens of each sentence, the end not counted.
        beam: Hypotheses kept at each step.
        penalty: The length penalty.
        num_hypotheses: Number of hypotheses to return for each sentence.

    Returns:
        Token ids and log probabilities, each [sentences, num_hypotheses, max_length], best first; the number of
        valid tokens, the end included [sentences, num_hypotheses]; and the number of hypotheses [sentences].
    """
    caches, limits = [engine.start(source_ids) for engine in engines], np.array(longest, dtype=np.int64)
    count, max_length = len(limits), int(limits.max(initial=0)) + 1
    sentences, tokens = np.arange(count), np.full((count, beam), BOS, dtype=np.int64)
    scores, task = np.zeros((count, beam)), _beam_task(count, max_length, beam, penalty, num_hypotheses)
    num_tokens = min(2 * beam, engines[0].decoder.vocab_size)
    for cache in caches:
        cache.allocate_beams(beam)
    while left := len(sentences):
        check_needed()
        part_sentences = max(1, min(left, PART // beam))
        parts, part_rows = -(-left // part_sentences), part_sentences * beam
        rows, active = parts * part_rows, np.empty(parts, dtype=np.int64)
        steps = min(_STEPS, max_length - caches[0].length)
        models = _prepare(engines, caches, tokens, (parts, part_rows), steps, num_tokens, in_beams=True)
        search = BeamState(
            task=task,
            part_sentences=part_sentences,
            sentences_left=left,
            scores=scores,
            limits=limits,
            sentences=sentences,
            active=active,
            candidates=Candidate.empty(parts, 2 * beam),
        )
        top = next_tokens(rows, num_tokens, scores=True)
        search_beam(parts, models, top, search)
        stay = _active_items(active, part_sentences)
        tokens, scores, limits, sentences = tokens[stay], scores[stay], limits[stay], sentences[stay]
        for cache in caches:
            cache.select_sentences(stay, beam)
    return task.ids, task.log_p, task.lengths, task.num_finished


def make_member(
    engine: Engine, cache: EngineCache, tokens: np.ndarray, parts: tuple[int, int], steps: int, screened: int = 0
) -> Member:
    """Prepare a model for more positions.

    Args:
        engine: The model.
        cache: Its cache.
        tokens: The last token of each row, [rows].
        parts: Number of parts, and of rows in each.
        steps: Number of positions, at most `engine.possible_steps`.
        screened: Number of top tokens per row that screening may find, or 0.
    """
    state = engine.decoder_state(tokens, cache, parts, steps)
    work = engine.workspace(parts, cache, screened)
    return Member(model=engine.decoder, state=state, work=work, sources=None, source_lengths=None, seen=None)


def group(members: Sequence[Member], rows: int) -> Members:
    """Make the group of a search's models, with memory for the average of `rows` rows if there are several."""
    padded = pad_to_lanes(members[0].model.vocab_size)
    shape = (rows, padded) if len(members) > 1 else (0, 0)
    return Members(
        members=Member.array(members),
        count=len(members),
        padded_vocab=padded,
        logits=np.empty(shape, dtype=np.float32),
        average=np.empty(shape, dtype=np.float32),
    )


def _prepare(
    engines: Sequence[Engine],
    caches: Sequence[EngineCache],
    tokens: np.ndarray,
    parts: tuple[int, int],
    steps: int,
    screened: int,
    in_beams: bool,
) -> Members:
    """Prepare all models for up to `steps` more positions.

    screened: as in `make_member`; in_beams: the caches have one source for each sentence.
    """
    rows, pairs = parts[0] * parts[1], list(zip(engines, caches, strict=True))
    steps = min(engine.possible_steps(cache, steps) for engine, cache in pairs)
    members = [make_member(engine, cache, tokens, parts, steps, screened) for engine, cache in pairs]
    return group([_in_beams(*pair, rows) for pair in zip(members, caches, strict=True)] if in_beams else members, rows)


def _in_beams(member: Member, cache: EngineCache, rows: int) -> Member:
    """Add the memory that a beam search needs for a model."""
    sources, lengths = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
    return member.replace(
        state=member.state.replace(sources=sources, source_lengths=lengths),
        sources=cache.sources,
        source_lengths=cache.source_lengths,
        seen=np.empty((rows, member.state.seen_stride), dtype=np.int64),
    )


def next_tokens(rows: int, count: int, scores: bool) -> NextTokens:
    """Allocate memory for the top `count` tokens of each row."""
    return NextTokens(
        count=count,
        with_scores=scores,
        logits=np.empty((rows, count), dtype=np.float32),
        tokens=np.empty((rows, count), dtype=np.int64),
        end_logits=np.empty(rows, dtype=np.float32),
        normalisers=np.empty(rows, dtype=np.float32),
    )


def _beam_task(count: int, max_length: int, beam: int, penalty: LengthPenalty, num_hypotheses: int) -> BeamTask:
    history, results = (count, max_length, beam), (count, num_hypotheses)
    return BeamTask(
        beam=beam,
        num_hypotheses=num_hypotheses,
        max_length=max_length,
        penalties=np.array([penalty.at(length) for length in range(max_length + 2)]),
        favours_long=penalty.alpha > 0,
        history_tokens=np.empty(history, dtype=np.int64),
        history_parents=np.empty(history, dtype=np.int64),
        history_log_p=np.empty(history, dtype=np.float32),
        num_finished=np.zeros(count, dtype=np.int64),
        finished=FinishedHypothesis.empty(*results),
        ids=np.empty((*results, max_length), dtype=np.int64),
        log_p=np.empty((*results, max_length), dtype=np.float32),
        lengths=np.empty(results, dtype=np.int64),
    )


def _active_items(active: np.ndarray, part_size: int) -> np.ndarray:
    """Return the indices of the unfinished items of all parts, which come first in each part."""
    return np.concatenate([part * part_size + np.arange(count) for part, count in enumerate(active.tolist())])
