"""Greedy search of one sentence with drafts: when it pays, its memory, and the calls of `verification.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.kernels.launch import load_kernel
from allyouneed.kernels.names import VERIFICATION
from allyouneed.translation.engine.drafts import DraftTables, DraftWork
from allyouneed.translation.engine.members import Member, Members
from allyouneed.translation.engine.memory import DraftMemory, pays
from allyouneed.translation.engine.verification import DraftedSearch, search_drafted
from allyouneed.translation.engine.whole_search import group, next_tokens
from allyouneed.translation.stopping import check_needed

if TYPE_CHECKING:
    from allyouneed.translation.engine.engine import Engine
    from allyouneed.translation.engine.engine_cache import EngineCache

COUNT = 3  # drafted tokens per step: a product of four rows takes little longer than one of a single row
_STEPS = 64  # positions per call


class SearchedSentence(NamedTuple):
    """The result of a search, and its number of decoder steps.

    Attributes:
        ids: Token ids, [1, limit + 1].
        log_p: Log probabilities, fp32 [1, limit + 1].
        lengths: Number of valid tokens, the end included, [1].
        steps: Number of decoder steps.
    """

    ids: np.ndarray
    log_p: np.ndarray
    lengths: np.ndarray
    steps: int


class Drafts:
    """Drafted tokens for the greedy search of single sentences.

    Args:
        memory: What drafts are made from.
        count: Maximum number of drafted tokens per step of the decoder.
    """

    def __init__(self, memory: DraftMemory, count: int = COUNT):
        self._count, self._vocab_size = count, len(memory.frequency)
        self._pay: bool | None = None
        self._tables = DraftTables(
            num_pairs=len(memory.pairs), vocab_size=self._vocab_size, end=EOS, **memory._asdict()
        )

    def pay(self, engine: Engine) -> bool:
        """Return whether they make the search faster; False while the search is not compiled."""
        if self._pay is None:
            self._pay = pays(engine.model, 1 if engine.in_bytes else 4) and load_kernel(VERIFICATION)
        return self._pay

    @torch.inference_mode()
    def search(self, engines: Sequence[Engine], source_ids: Tensor, limit: int, scores: bool) -> SearchedSentence:
        """Run a whole greedy search of one sentence; the result is bitwise that of `search_greedily`.

        Args:
            engines: The models, with one vocabulary.
            source_ids: Source ids, [1, source].
            limit: Maximum number of tokens, the end not counted.
            scores: Whether log probabilities are needed.
        """
        caches = [engine.start(source_ids) for engine in engines]
        ids, log_p = np.empty((1, limit + 1), dtype=np.int64), np.empty((1, limit + 1), dtype=np.float32)
        tokens, progress = np.empty(self._count + 1, dtype=np.int64), np.zeros(2, dtype=np.int64)
        search = DraftedSearch(
            tables=self._tables,
            work=self._work(source_ids.numpy()[0]),
            count=self._count,
            begin=BOS,
            limit=limit,
            ids=ids,
            log_p=log_p,
            progress=progress,
        )
        while progress[0] == 0:
            check_needed()
            models = self._prepare(engines, caches, tokens, limit)
            search_drafted(1, models, next_tokens(len(tokens), 1, scores), search)
        return SearchedSentence(ids, log_p, progress[:1], int(progress[1]))

    def _prepare(
        self, engines: Sequence[Engine], caches: Sequence[EngineCache], tokens: np.ndarray, limit: int
    ) -> Members:
        """Prepare all models for more positions, several of which are rows of one step."""
        steps = min(_STEPS, limit + 1 - caches[0].length)
        pairs = list(zip(engines, caches, strict=True))
        steps = min(engine.possible_steps(cache, steps) for engine, cache in pairs)
        members = []
        for engine, cache in pairs:
            state = engine.decoder_state(tokens, cache, (1, 1), steps)
            work = engine.workspace((1, len(tokens)), cache, screened=1)
            shared = {"sources": None, "source_lengths": None, "seen": None}
            members.append(Member(model=engine.decoder, state=state, work=work, **shared))
        return group(members, len(tokens))

    def _work(self, source: np.ndarray) -> DraftWork:
        return DraftWork(
            source=source,
            source_length=len(source),
            left=np.empty((2, len(source)), dtype=np.float32),
            last=np.empty(2, dtype=np.int64),
            weights=np.empty(len(source), dtype=np.float32),
            support=np.zeros(self._vocab_size, dtype=np.float32),
        )
