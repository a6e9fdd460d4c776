"""Scores of sentence pairs by translation models, for cleaning.

With a model of one direction, the score is the log probability per token; with a model of each direction, it is lower
the less the two agree (dual conditional cross-entropy, Junczys-Dowmunt 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from allyouneed.data.directions import Direction
from allyouneed.errors import UserError
from allyouneed.languages import primary
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.translator import Translator

Score: TypeAlias = Callable[[list[str], list[str]], np.ndarray]


def scorers(model: Path | None, backward_model: Path | None, directions: Sequence[Direction]) -> dict[Direction, Score]:
    """Return a function for each direction that scores pairs, shape [pairs]; empty without a model.

    Args:
        model: RUN or bundle of the directions.
        backward_model: RUN or bundle of the opposite directions, or None.
        directions: Languages of source and target.

    Raises:
        UserError: If a model is of another direction, or only that of the opposite direction is given.
    """
    if model is None:
        if backward_model is not None:
            raise UserError("--backward-model needs --model, the translator in the direction of the corpus.")
        return {}
    loaded = Translator.load(model)
    backward = None if backward_model is None else Translator.load(backward_model)
    found: dict[Direction, Score] = {}
    for source, target in directions:
        forward = _directed(loaded, model, (source, target))
        if backward is None or backward_model is None:
            found[source, target] = partial(_per_token, forward)
        else:
            found[source, target] = partial(_agreement, forward, _directed(backward, backward_model, (target, source)))
    return found


def _directed(translator: Translator, path: Path, direction: Direction) -> Translator:
    """Return the translator of one direction, of those that a model has."""
    bundle = translator.bundle
    wanted = [primary(code) for code in direction]
    for source, target in bundle.directions or (bundle.languages,):
        if [primary(source), primary(target)] == wanted:
            return translator.into(target, source) if bundle.directions else translator
    source, target = direction
    raise UserError(
        f"{path} translates {bundle.title}, but {source} → {target} is needed. Give a model of this direction."
    )


def _per_token(translator: Translator, sources: list[str], targets: list[str]) -> np.ndarray:
    """Return the log probability of each target given its source, per token, shape [pairs]."""
    return np.array([float(np.mean(each.log_probs)) for each in score_pairs(translator, sources, targets)])


def _agreement(forward: Translator, backward: Translator, sources: list[str], targets: list[str]) -> np.ndarray:
    one, other = _per_token(forward, sources, targets), _per_token(backward, targets, sources)
    return (one + other) / 2 - np.abs(one - other)
