"""Translation in compiled code: packed weights, with a decoding step or up to 16 steps of a search per call.

The results equal those of `Transformer.start` and `Transformer.decode_step` up to rounding. A sentence's result is
bitwise independent of the other sentences in its batch, since the order of every sum is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allyouneed import kernels
from allyouneed.kernels.attention import Inputs
from allyouneed.kernels.digit_tiles import digits_size
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.product import multiply_packed
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.decoder import DecoderState, Workspace
from allyouneed.translation.engine.drafted_search import Drafts
from allyouneed.translation.engine.encoder import EncoderWorkspace, SourceBatch, encode
from allyouneed.translation.engine.engine_cache import EngineCache
from allyouneed.translation.engine.greedy import step
from allyouneed.translation.engine.memory import DraftMemory
from allyouneed.translation.engine.screen import MOST_SCREENED, screen_workspace
from allyouneed.translation.engine.top_tokens import CHUNK_STRIDE, NextTokens
from allyouneed.translation.engine.weights import decoder_weights, encoder_weights, pad_width
from allyouneed.translation.engine.whole_search import (
    PART,
    group,
    make_member,
    next_tokens,
    search_greedily,
    search_with_beam,
)
from allyouneed.translation.search import LengthPenalty, TopTokens


class Engine:
    """Compiled decoding of a Transformer, with a copy of its weights at the time of construction.

    Args:
        model: An fp32 model on the CPU; see `engine_for` for its sizes.
        in_bytes: Round all matrices to 8 bits, with one scale per column, and their inputs, with one scale per row.
            Keys and values are kept in bf16.
        memory: What drafts of translations are made from, if there is anything.
    """

    def __init__(self, model: Transformer, in_bytes: bool = False, memory: DraftMemory | None = None):
        self.model, self.in_bytes = model, in_bytes
        self.drafts = Drafts(memory) if memory else None
        self.encoder, self.decoder = encoder_weights(model, in_bytes), decoder_weights(model, in_bytes)

    @torch.inference_mode()
    def start(self, source_ids: Tensor) -> EngineCache:
        """Encode padded source_ids [sentences, source] for `decode_step`."""
        ids = source_ids.numpy()
        is_token = self.model.source_tokens(source_ids).numpy()
        starts = np.concatenate([[0], is_token.sum(1).cumsum()])
        lengths = np.diff(starts)
        longest = int(lengths.max(initial=0))
        groups = np.append(np.unique(starts[:-1] // PART, return_index=True)[1], len(ids))
        part_rows = int(np.diff(starts[groups]).max(initial=0))
        memory = torch.empty(self.decoder.num_layers, int(starts[-1]), self.decoder.position_words)
        batch = SourceBatch(
            groups=groups,
            starts=starts,
            sentences=len(ids),
            ids=ids[is_token],
            positions=np.broadcast_to(np.arange(ids.shape[1]), ids.shape)[is_token],
            encodings=pad_width(self.model.source_embedding.position_encodings(0, longest)),
            memory=memory,
            memory_words=self.decoder.position_words,
        )
        encode(len(groups) - 1, self.encoder, batch, self._encoder_workspace(len(groups) - 1, part_rows, longest))
        return EngineCache(memory, starts)

    @torch.inference_mode()
    def decode_step(self, tokens: Tensor, cache: EngineCache) -> Tensor:
        """Compute the next logits [rows, vocabulary] from the last token of each row, tokens [rows]."""
        hidden = self._step(tokens.numpy(), cache, next_tokens(len(tokens), 0, scores=False))
        return multiply_packed(torch.from_numpy(hidden), self.decoder.output)[:, : self.decoder.vocab_size]

    def choose(self, tokens: np.ndarray, cache: EngineCache, count: int, scores: bool = True) -> TopTokens:
        """Find the `count` most likely next tokens of each row, without storing all logits.

        Without `scores` the log probabilities may lack their row's normaliser; the tokens are the same, except for
        ties within rounding.
        """
        top = next_tokens(len(tokens), min(count, self.decoder.vocab_size), scores)
        self._step(tokens, cache, top)
        top.logits[top.logits <= kernels.MASKED_BELOW] = -np.inf  # fewer than `count` tokens are allowed
        return TopTokens(top.logits - top.normalisers[:, None], top.tokens, top.end_logits - top.normalisers)

    def greedy(
        self,
        source_ids: Tensor,
        longest: Sequence[int],
        scores: bool,
        drafts: bool | None = None,
        others: Sequence[Engine] = (),
    ) -> tuple[np.ndarray, ...]:
        """Run a whole greedy search, averaging probabilities with `others`; see `search_greedily`.

        The search of one sentence verifies drafts if `drafts` is true, or None and it is faster.
        """
        engines = [self, *others]
        if len(longest) == 1 and self.drafts and drafts is not False and (drafts or self.drafts.pay(self)):
            return self.drafts.search(engines, source_ids, longest[0], scores)[:3]
        return search_greedily(engines, source_ids, longest, scores)

    def beam_search(
        self,
        source_ids: Tensor,
        longest: Sequence[int],
        beam: int,
        penalty: LengthPenalty,
        num_hypotheses: int,
        others: Sequence[Engine] = (),
    ) -> tuple[np.ndarray, ...]:
        """Run a whole beam search, averaging probabilities with `others`; see `search_with_beam`."""
        return search_with_beam([self, *others], source_ids, longest, beam, penalty, num_hypotheses)

    def _step(self, tokens: np.ndarray, cache: EngineCache, top: NextTokens) -> np.ndarray:
        """Advance each row by its last token, and return the pre-softmax linear's input [rows, d_model]."""
        rows, tokens = len(tokens), np.ascontiguousarray(tokens, dtype=np.int64)
        part_rows, parts = min(rows, PART), -(-rows // PART)
        member = make_member(self, cache, tokens, (parts, part_rows), 1, screened=top.count)
        step(parts, rows, group([member], 0), top)
        hidden: np.ndarray = member.work.hidden[:rows]
        return hidden

    def possible_steps(self, cache: EngineCache, steps: int) -> int:
        """Return how many of `steps` more positions the model has, and at least 1."""
        limit = self.model.target_embedding.max_positions
        return steps if limit is None else max(1, min(steps, limit - cache.length))

    def decoder_state(self, tokens: np.ndarray, cache: EngineCache, parts: tuple[int, int], steps: int) -> DecoderState:
        """Prepare `steps` more positions; parts: the number of parts, and of rows in each."""
        begin, sizes = cache.length, (self.decoder.num_layers, parts[1], steps, self.decoder.position_words)
        key_values = cache.append(steps, (parts[0], *sizes))
        return DecoderState(
            tokens=tokens,
            seen=cache.seen,
            seen_stride=cache.seen.shape[1],
            strides=cache.strides,
            sources=cache.sources,
            source_lengths=cache.source_lengths,
            source_stride=cache.source_stride,
            length=begin,
            steps=steps,
            part_rows=parts[1],
            key_values=key_values,
            encodings=pad_width(self.model.target_embedding.position_encodings(begin, begin + steps)),
        )

    def workspace(self, parts: tuple[int, int], cache: EngineCache, screened: int) -> Workspace:
        """Allocate memory for a call.

        Args:
            parts: Number of parts, and of rows in each.
            cache: The cache, with the new positions.
            screened: Number of top tokens per row that screening may find, or 0.
        """
        model, rows = self.decoder, parts[0] * parts[1]
        scores_size = pad_to_lanes(max(cache.length, cache.max_source))
        has_screen = model.screen is not None and 0 < screened <= MOST_SCREENED
        return Workspace(
            hidden=_floats(rows, model.d_model),
            normed=_floats(rows, model.d_model),
            query=_floats(rows, model.heads * model.d_k),
            mixed=_floats(rows, model.heads * model.d_v),
            inner=_floats(rows, model.d_ff),
            projected=self._unrounded(rows),
            scores=_floats(parts[0] * model.heads, scores_size),
            scores_size=scores_size,
            addresses=np.empty((parts[0], scores_size), dtype=np.int64),
            logits=_floats(rows, CHUNK_STRIDE),
            screen=screen_workspace(rows, model.d_model, screened) if has_screen else None,
            **self._rounded(*parts),
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
            scale=model.attention_scale,
            causal=False,
            max_keys=max_keys,
            part_heads=model.heads,
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
            key_values=self._unrounded(rows),
            **self._rounded(parts, part_rows),
        )

    def _unrounded(self, rows: int) -> np.ndarray | None:
        """Allocate memory for keys and values before they are rounded to bf16."""
        model = self.decoder
        return _floats(rows, model.heads * (model.d_k + model.d_v)) if model.in_bf16 else None

    def _rounded(self, parts: int, part_rows: int) -> dict[str, Any]:
        """Allocate memory for the widest rows of each part after rounding."""
        widths = [width for each in (self.encoder, self.decoder) for width in (each.d_ff, each.heads * each.d_v)]
        size = part_rows * digits_size(max(self.decoder.d_model, *widths))  # bytes take less
        return {"rounded": torch.empty(parts, size), "rounded_size": size}  # begins at a whole cache line


def _floats(rows: int, width: int) -> np.ndarray:
    return np.empty((rows, width), dtype=np.float32)
