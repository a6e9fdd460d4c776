"""Ensembles: several models with one vocabulary whose predictions are averaged at each step.

The average is that of the probabilities of the next token, as in fairseq and Sockeye. Members may have different sizes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from allyouneed import kernels
from allyouneed.bundle import Bundle, is_run, load_bundle
from allyouneed.errors import UserError
from allyouneed.translation.engine import FLOAT32, engine_for
from allyouneed.translation.engine.memory import DraftMemory
from allyouneed.translation.search import NEVER_GENERATED, LengthPenalty, Model, SearchCache
from allyouneed.translation.stopping import check_needed

_LONG = 15.0  # seconds: about what the compilation of all kernels takes on two idle cores


class EnsembleCache:
    """The caches of the members."""

    def __init__(self, caches: Sequence[SearchCache]):
        self.caches = caches

    def select(self, rows: Tensor) -> None:
        for cache in self.caches:
            cache.select(rows)

    def keep_sentences(self, sentences: Tensor) -> None:
        for cache in self.caches:
            cache.keep_sentences(sentences)


class Ensemble:
    """Several models as one; see `search.Model`."""

    def __init__(self, models: Sequence[Model]):
        self.models = models

    def start(self, source_ids: Tensor) -> EnsembleCache:
        """Encode padded source ids [sentences, source] with every member."""
        return EnsembleCache([model.start(source_ids) for model in self.models])

    def decode_step(self, tokens: Tensor, cache: EnsembleCache) -> Tensor:
        """Return the logarithm of the average probabilities of the next token, [rows, vocabulary]."""
        members = zip(self.models, cache.caches, strict=True)
        return average([model.decode_step(tokens, own) for model, own in members])


class CompiledEnsemble(Ensemble):
    """An ensemble of compiled engines, which run a whole search together."""

    models: Sequence[Any]  # `Engine`, which needs Numba

    def greedy(
        self, source_ids: Tensor, longest: Sequence[int], scores: bool, drafts: bool | None = None
    ) -> tuple[np.ndarray, ...]:
        """Run a whole greedy search; see `Engine.greedy`."""
        return self.models[0].greedy(source_ids, longest, scores, drafts, self.models[1:])

    def beam_search(
        self, source_ids: Tensor, longest: Sequence[int], beam: int, penalty: LengthPenalty, num_hypotheses: int
    ) -> tuple[np.ndarray, ...]:
        """Run a whole beam search; see `Engine.beam_search`."""
        return self.models[0].beam_search(source_ids, longest, beam, penalty, num_hypotheses, self.models[1:])


def average(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the average of the probabilities that the logits give, without impossible tokens.

    Args:
        logits: The logits of each model, [..., vocabulary]; changed in place.
    """
    log_p = []
    for each in logits:
        each = each.float()
        each[..., NEVER_GENERATED] = -torch.inf
        log_p.append(each.log_softmax(dim=-1))
    return torch.stack(log_p).logsumexp(dim=0) - np.log(len(log_p))


def searchable(models: Sequence[Model], compute_type: str, memory: DraftMemory | None = None) -> Model:
    """Return what is searched: the model or the ensemble, in compiled code where possible.

    Args:
        models: The models.
        compute_type: See `engine_for`.
        memory: What drafts are made from, if there is anything.

    Raises:
        UserError: See `engine_for`.
    """
    engines = [engine_for(model, compute_type, memory) for model in models]
    if len(engines) == 1:
        return engines[0]
    compiled = all(hasattr(engine, "beam_search") for engine in engines)
    return CompiledEnsemble(engines) if compiled else Ensemble(models)


class SearchedModels:
    """What is searched: see `searchable`; the models themselves while kernels are compiled in the background.

    Args:
        models: The models.
        compute_type: See `engine_for`.
        few_tokens: Number of source tokens that the models search before an engine is made, which takes longer.
        memory: What drafts are made from, if there is anything.

    Attributes:
        on_wait: Called before a long search waits for the kernels; None if searches never wait.
    """

    def __init__(
        self, models: Sequence[Model], compute_type: str, few_tokens: int = 0, memory: DraftMemory | None = None
    ):
        self._models, self._compute_type = models, compute_type
        self._few_tokens, self._memory = few_tokens, memory
        self._found: Model | None = None
        self._lock, self._has_waited = threading.Lock(), False
        self.on_wait: Callable[[], None] | None = None
        self._began, self._tokens, self._left = 0.0, 0, 0

    def expect(self, tokens: int) -> None:
        """Announce a search, with its number of source tokens."""
        self._few_tokens -= tokens
        self._began, self._tokens, self._left = time.monotonic(), tokens, tokens

    def current(self, tokens: int = 0) -> Model:
        """Return what is searched now; all threads share it.

        Args:
            tokens: Number of source tokens of the batch that will be searched.

        Raises:
            UserError: See `engine_for`.
        """
        if self._found is None and self.on_wait and self._seconds_left() > _LONG:
            self._wait(self.on_wait)
        self._left -= tokens
        may_wait = self._compute_type == FLOAT32  # PyTorch cannot stand in for int8
        if self._found is None and may_wait and (self._few_tokens > 0 or kernels.background.pending()):
            self._has_waited = True
        elif self._found is None and self._lock.acquire(blocking=not self._has_waited):
            try:  # if requests are served already, the other threads continue with PyTorch meanwhile
                self._found = self._found or searchable(self._models, self._compute_type, self._memory)
            finally:
                self._lock.release()
        return self._found or (self._models[0] if len(self._models) == 1 else Ensemble(self._models))

    def _seconds_left(self) -> float:
        """Estimate how long the rest of a search takes at its rate so far; 0 before its second batch."""
        done = self._tokens - self._left
        return (time.monotonic() - self._began) * self._left / done if done else 0.0

    def _wait(self, announce: Callable[[], None]) -> None:
        """Wait for the kernels, whose compilation takes what this process leaves of the processor."""
        if kernels.background.pending():
            announce()
        while kernels.background.pending():
            check_needed()
            time.sleep(0.05)


def load_members(paths: Sequence[Path]) -> list[Bundle]:
    """Load the models of an ensemble, or a single one.

    Args:
        paths: A RUN or bundle for each model.

    Raises:
        UserError: If there are none, a bundle is missing or damaged, or vocabularies or languages differ.
    """
    if not paths:
        raise UserError("no models are given. Give at least one RUN or bundle.")
    bundles = [load_bundle(path) for path in paths]
    check_members(bundles, [str(path) for path in paths])
    return bundles


def check_members(bundles: Sequence[Bundle], names: Sequence[str] | None = None) -> None:
    """Check that models can be an ensemble.

    Args:
        bundles: The models.
        names: Their names in messages; by default what they translate.

    Raises:
        UserError: If their vocabularies or their languages differ.
    """
    first, names = bundles[0], names or [bundle.title for bundle in bundles]
    for bundle, name in zip(bundles[1:], names[1:], strict=True):
        if (bundle.languages, bundle.directions) != (first.languages, first.directions):
            if bundle.title == first.title:
                raise UserError(
                    f"only one of {name} and {names[0]} puts the code of the target language in front of sources, "
                    "since it was trained with --directions. Train both with it, or both without."
                )
            raise UserError(
                f"{name} translates {bundle.title}, and {names[0]} {first.title}. An ensemble has one direction: give "
                "models of the same languages."
            )
        if bundle.tokenizer.files() != first.tokenizer.files():
            raise UserError(
                f"{name} and {names[0]} have different vocabularies. Train the models of an ensemble on the same text "
                "with the same data settings, and with different values of training.seed."
            )


def split_runs(paths: Sequence[Path]) -> tuple[list[Path], Path | None]:
    """Divide the arguments of `allyouneed translate` into RUNs and the FILE, if there is one.

    The first argument is a RUN. A further one is a RUN if it is a folder with a bundle.

    Raises:
        UserError: If there are several FILEs, or a RUN follows a FILE.
    """
    runs, others = [paths[0]], list(paths[1:])
    while others and is_run(others[0]):
        runs.append(others.pop(0))
    if len(others) > 1:
        late = next((path for path in others[1:] if is_run(path)), None)
        if late:
            raise UserError(f"{late} is a RUN, and {others[0]} is not. Give all RUNs before the FILE.")
        raise UserError(
            f"{others[0]} and {others[1]} are not RUNs, and translate takes one FILE. Give a folder of documents, or "
            "call the command for each FILE."
        )
    return runs, others[0] if others else None
