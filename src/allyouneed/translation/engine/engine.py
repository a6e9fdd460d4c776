"""Translation in compiled code: packed weights, with a decoding step or up to 16 steps of a search per call.

The results equal those of `Transformer.start` and `Transformer.decode_step` up to rounding. A sentence's result is
bitwise independent of the other sentences in its batch, since the order of every sum is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allyouneed import kernels
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.kernels.attention import Inputs
from allyouneed.kernels.product import multiply_packed, rounded_size
from allyouneed.kernels.simd import pad_to_lanes
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.beam import BeamState, BeamTask, Candidate, FinishedHypothesis, search_beam
from allyouneed.translation.engine.decoder import DecoderState, Workspace
from allyouneed.translation.engine.encoder import EncoderWorkspace, SourceBatch, encode
from allyouneed.translation.engine.engine_cache import EngineCache
from allyouneed.translation.engine.greedy import GreedyState, greedy, step
from allyouneed.translation.engine.screen import screen_workspace
from allyouneed.translation.engine.top_tokens import CHUNK, NextTokens
from allyouneed.translation.engine.weights import decoder_weights, encoder_weights
from allyouneed.translation.search import TopTokens, length_penalty

_PART = 96  # rows that pass through the decoder together
_STEPS = 16  # search steps per call; after each call, parts that have become small are merged


class Engine:
    """Compiled decoding of a Transformer, with a copy of its weights at the time of construction.

    Args:
        model: An fp32 model on the CPU; see `engine_for` for its sizes.
        in_bytes: Round all matrices to 8 bits, with one scale per column, and their inputs, with one scale per row.
    """

    def __init__(self, model: Transformer, in_bytes: bool = False):
        self.model, self.in_bytes = model, in_bytes
        self.encoder, self.decoder = encoder_weights(model, in_bytes), decoder_weights(model, in_bytes)
        layers, heads = self.decoder.num_layers, self.decoder.heads
        self._key_value_size = layers * heads * (self.decoder.d_k + self.decoder.d_v)

    @torch.inference_mode()
    def start(self, source_ids: Tensor) -> EngineCache:
        """Encode padded source_ids [sentences, source] for `decode_step`."""
        ids = source_ids.numpy()
        is_token = ids != self.model.pad_id
        starts = np.concatenate([[0], is_token.sum(1).cumsum()])
        lengths = np.diff(starts)
        longest = int(lengths.max(initial=0))
        groups = np.append(np.unique(starts[:-1] // _PART, return_index=True)[1], len(ids))
        part_rows = int(np.diff(starts[groups]).max(initial=0))
        memory = torch.empty(int(starts[-1]), self.encoder.memory.columns)
        batch = SourceBatch(
            groups=groups,
            starts=starts,
            ids=ids[is_token],
            positions=np.broadcast_to(np.arange(ids.shape[1]), ids.shape)[is_token],
            encodings=self.model.source_embedding.position_encodings(0, longest),
            memory=memory,
        )
        encode(len(groups) - 1, self.encoder, batch, self._encoder_workspace(len(groups) - 1, part_rows, longest))
        return EngineCache(memory, starts)

    @torch.inference_mode()
    def decode_step(self, tokens: Tensor, cache: EngineCache) -> Tensor:
        """Compute the next logits [rows, vocabulary] from the last token of each row, tokens [rows]."""
        hidden = self._step(tokens.numpy(), cache, self._top_tokens(len(tokens), 0, scores=False))
        return multiply_packed(torch.from_numpy(hidden), self.decoder.output)[:, : self.decoder.vocab_size]

    def choose(self, tokens: np.ndarray, cache: EngineCache, count: int, scores: bool = True) -> TopTokens:
        """Find the `count` most likely next tokens of each row, without storing all logits.

        Without `scores` the log probabilities may lack their row's normaliser; the tokens are the same, except for
        ties within rounding.
        """
        top = self._top_tokens(len(tokens), min(count, self.decoder.vocab_size), scores)
        self._step(tokens, cache, top)
        top.logits[top.logits <= kernels.MASKED_BELOW] = -np.inf  # fewer than `count` tokens are allowed
        return TopTokens(top.logits - top.normalisers[:, None], top.tokens, top.end_logits - top.normalisers)

    @torch.inference_mode()
    def greedy(self, source_ids: Tensor, longest: Sequence[int], scores: bool) -> tuple[np.ndarray, ...]:
        """Run a whole greedy search; see `translation.search.greedy`.

        Returns:
            Token ids and log probabilities, each [sentences, max_length], and the number of valid tokens, the end
            included [sentences].
        """
        cache, limits = self.start(source_ids), np.array(longest, dtype=np.int64)
        sentences, max_length = np.arange(len(limits)), int(limits.max(initial=0)) + 1
        tokens, results = np.full(len(limits), BOS, dtype=np.int64), (len(limits), max_length)
        ids, log_p = np.empty(results, dtype=np.int64), np.empty(results, dtype=np.float32)
        lengths = np.zeros(len(limits), dtype=np.int64)
        while rows := len(tokens):
            part_rows, parts = min(rows, _PART), -(-rows // _PART)
            active = np.empty(parts, dtype=np.int64)
            state = self._state(tokens, cache, parts, part_rows, min(_STEPS, max_length - cache.length))
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
            top = self._top_tokens(parts * part_rows, 1, scores)
            greedy(parts, self.decoder, state, self._workspace(parts, part_rows, cache, 1), top, search)
            left = _active_items(active, part_rows)
            tokens, limits, sentences = tokens[left], limits[left], sentences[left]
            cache.select(left)
        return ids, log_p, lengths

    @torch.inference_mode()
    def beam_search(
        self, source_ids: Tensor, longest: Sequence[int], beam: int, alpha: float, num_hypotheses: int
    ) -> tuple[np.ndarray, ...]:
        """Run a whole beam search; see `translation.beam_search.beam_search`.

        Returns:
            Token ids and log probabilities, each [sentences, num_hypotheses, max_length], best first; the number of
            valid tokens, the end included [sentences, num_hypotheses]; and the number of hypotheses [sentences].
        """
        cache, limits = self.start(source_ids), np.array(longest, dtype=np.int64)
        count, max_length = len(limits), int(limits.max(initial=0)) + 1
        sentences, tokens = np.arange(count), np.full((count, beam), BOS, dtype=np.int64)
        scores, history, results = np.zeros((count, beam)), (count, max_length, beam), (count, num_hypotheses)
        task = BeamTask(
            beam=beam,
            num_hypotheses=num_hypotheses,
            max_length=max_length,
            penalties=np.array([length_penalty(length, alpha) for length in range(max_length + 2)]),
            favours_long=alpha > 0,
            history_tokens=np.empty(history, dtype=np.int64),
            history_parents=np.empty(history, dtype=np.int64),
            history_log_p=np.empty(history, dtype=np.float32),
            num_finished=np.zeros(count, dtype=np.int64),
            finished=FinishedHypothesis.empty(*results),
            ids=np.empty((*results, max_length), dtype=np.int64),
            log_p=np.empty((*results, max_length), dtype=np.float32),
            lengths=np.empty(results, dtype=np.int64),
        )
        cache.allocate_beams(beam)
        while left := len(sentences):
            part_sentences = max(1, min(left, _PART // beam))
            parts, part_rows = -(-left // part_sentences), part_sentences * beam
            rows, active = parts * part_rows, np.empty(parts, dtype=np.int64)
            state = self._state(tokens, cache, parts, part_rows, min(_STEPS, max_length - cache.length)).replace(
                sources=np.empty(rows, dtype=np.int64), source_lengths=np.empty(rows, dtype=np.int64)
            )
            search = BeamState(
                task=task,
                part_sentences=part_sentences,
                sentences_left=left,
                scores=scores,
                sources=cache.sources,
                source_lengths=cache.source_lengths,
                limits=limits,
                sentences=sentences,
                active=active,
                candidates=Candidate.empty(parts, 2 * beam),
                seen=np.empty((rows, state.seen_stride), dtype=np.int64),
            )
            work, top = self._workspace(parts, part_rows, cache, 0), self._top_tokens(rows, 2 * beam, scores=True)
            search_beam(parts, self.decoder, state, work, top, search)
            stay = _active_items(active, part_sentences)
            tokens, scores, limits, sentences = tokens[stay], scores[stay], limits[stay], sentences[stay]
            cache.select_sentences(stay, beam)
        return task.ids, task.log_p, task.lengths, task.num_finished

    def _step(self, tokens: np.ndarray, cache: EngineCache, top: NextTokens) -> np.ndarray:
        """Advance each row by its last token, and return the pre-softmax linear's input [rows, d_model]."""
        rows, tokens = len(tokens), np.ascontiguousarray(tokens, dtype=np.int64)
        part_rows, parts = min(rows, _PART), -(-rows // _PART)
        state = self._state(tokens, cache, parts, part_rows, 1)
        work = self._workspace(parts, part_rows, cache, top.count)
        step(parts, rows, self.decoder, state, work, top)
        hidden: np.ndarray = work.hidden[:rows]
        return hidden

    def _state(self, tokens: np.ndarray, cache: EngineCache, parts: int, part_rows: int, steps: int) -> DecoderState:
        """Prepare up to `steps` more positions, limited to the learned positions, and at least one."""
        embedding, begin = self.model.target_embedding, cache.length
        if embedding.max_positions is not None:
            steps = max(1, min(steps, embedding.max_positions - begin))
        key_values = cache.append(steps, parts * part_rows, self._key_value_size)
        return DecoderState(
            tokens=tokens,
            seen=cache.seen,
            seen_stride=cache.seen.shape[1],
            sources=cache.sources,
            source_lengths=cache.source_lengths,
            length=begin,
            steps=steps,
            part_rows=part_rows,
            key_values=key_values,
            encodings=embedding.position_encodings(begin, begin + steps),
        )

    def _top_tokens(self, rows: int, count: int, scores: bool) -> NextTokens:
        return NextTokens(
            count=count,
            with_scores=scores,
            logits=np.empty((rows, count), dtype=np.float32),
            tokens=np.empty((rows, count), dtype=np.int64),
            end_logits=np.empty(rows, dtype=np.float32),
            normalisers=np.empty(rows, dtype=np.float32),
        )

    def _workspace(self, parts: int, part_rows: int, cache: EngineCache, screened: int) -> Workspace:
        """Allocate memory for a call. screened: number of top tokens per row that screening may find, or 0."""
        model, rows = self.decoder, parts * part_rows
        scores_size = pad_to_lanes(max(cache.length, cache.max_source))
        has_screen = model.screen is not None and screened > 0
        return Workspace(
            hidden=_floats(rows, model.d_model),
            normed=_floats(rows, model.d_model),
            query=_floats(rows, model.heads * model.d_k),
            mixed=_floats(rows, model.heads * model.d_v),
            inner=_floats(rows, model.d_ff),
            scores=_floats(parts, scores_size),
            scores_size=scores_size,
            logits=_floats(rows, CHUNK),
            screen=screen_workspace(rows, model.d_model, screened) if has_screen else None,
            **self._rounded(parts, part_rows),
        )

    def _encoder_workspace(self, parts: int, part_rows: int, longest: int) -> EncoderWorkspace:
        model, rows, max_keys = self.encoder, parts * part_rows, pad_to_lanes(longest)
        queries, stride = model.heads * model.d_k, model.heads * (2 * model.d_k + model.d_v)
        projected = _floats(rows, stride)
        attention = Inputs(
            queries=projected,
            keys=projected[:, queries:],
            values=projected[:, 2 * queries :],
            query_stride=stride,
            key_stride=stride,
            value_stride=stride,
            heads=model.heads,
            d_k=model.d_k,
            d_v=model.d_v,
            scale=1 / math.sqrt(model.d_k),
            causal=False,
            max_keys=max_keys,
        )
        return EncoderWorkspace(
            x=_floats(rows, model.d_model),
            normed=_floats(rows, model.d_model),
            attention=attention,
            mixed=_floats(rows, model.heads * model.d_v),
            log_normalisers=_floats(rows, model.heads),
            inner=_floats(rows, model.d_ff),
            scratch=_floats(parts, (model.d_k + 4) * max_keys),
            part_rows=part_rows,
            **self._rounded(parts, part_rows),
        )

    def _rounded(self, parts: int, part_rows: int) -> dict[str, Any]:
        """Allocate memory for the widest rows of each part in bytes."""
        model = self.decoder
        size = rounded_size(part_rows, max(model.d_model, model.d_ff, model.heads * model.d_v))
        return {"rounded": _floats(parts, size) if self.in_bytes else None, "rounded_size": size}


def _floats(rows: int, width: int) -> np.ndarray:
    return np.empty((rows, width), dtype=np.float32)


def _active_items(active: np.ndarray, part_size: int) -> np.ndarray:
    """Return the indices of the unfinished items of all parts, which come first in each part."""
    return np.concatenate([part * part_size + np.arange(count) for part, count in enumerate(active.tolist())])
