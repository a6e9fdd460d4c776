"""Search for the known mistakes that reproduce a module's output.

The module's steps were recorded. A plan (see `plan`) is computed with the module's own weights and compared step by
step. Each round keeps the change that moves the first step that differs furthest, until all steps agree.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from allyouneed.verification.computation import Batch, compute
from allyouneed.verification.plan import Plan, Variation, local_variations, multiples, variations
from allyouneed.verification.weights import Weights

_MOST_ROUNDS = 8
_MASKED = -1e4  # scores below are masked ones
_COMPLETE = 10**6


@dataclass(frozen=True)
class Agreement:
    """How far a plan reproduces the recorded steps.

    Attributes:
        matched: Steps that agree before the first that differs.
        step: First step that differs, or "" if all agree.
        distance: Largest difference at that step, relative to the largest value of the step.
        ours: Our value of the step, or None.
    """

    matched: tuple[str, ...]
    step: str
    distance: float
    ours: Tensor | None = None

    @property
    def complete(self) -> bool:
        """Whether every step agrees."""
        return not self.step


@dataclass
class Diagnosis:
    """Result of the search.

    Attributes:
        variations: Changes that reproduce the module, with the step at which each was needed.
        unexplained: Steps that no known mistake reproduces; the module's values were used after them.
        first: Agreement of the paper's plan.
        alternatives: For each variation, others that give the same result for this module's sizes.
        tolerance: Largest relative difference that counts as equal.
        seconds: Time taken.
        exhausted: Whether the time limit ended the search.
        compared: Steps that were observed.
    """

    variations: list[tuple[Variation, Agreement]] = field(default_factory=list)
    unexplained: list[Agreement] = field(default_factory=list)
    first: Agreement | None = None
    alternatives: list[tuple[str, ...]] = field(default_factory=list)
    tolerance: float = 0.0
    seconds: float = 0.0
    exhausted: bool = False
    compared: tuple[str, ...] = ()

    @property
    def cost(self) -> int:
        """Number of changes, with unexplained steps counted tenfold."""
        return len(self.variations) + 10 * len(self.unexplained)


class _DiffersError(Exception):
    """Raised at the first step that differs, to end a computation early."""


@dataclass
class Comparer:
    """Compares plans with a recording.

    Attributes:
        weights: The module's parameters.
        batch: Token ids of the recording.
        steps: The module's steps.
        tolerance: Largest relative difference that counts as equal.
        forced: Steps whose recorded value replaces ours.
        log_probabilities: Whether the module's output is normalised.
    """

    weights: Weights
    batch: Batch
    steps: Mapping[str, Tensor]
    tolerance: float
    forced: set[str] = field(default_factory=set)
    log_probabilities: bool = False
    _references: dict[str, tuple[Tensor, Tensor, float]] = field(default_factory=dict, repr=False)

    def agreement(self, plan: Plan) -> Agreement:
        """Compute a plan until the first step that differs."""
        matched: list[str] = []
        differing: list[tuple[str, float, Tensor]] = []

        def observe(step: str, value: Tensor) -> Tensor:
            theirs = self.steps.get(step)
            if theirs is None:
                return value
            if step in self.forced:
                return theirs.to(value) if theirs.shape == value.shape else value
            distance = self.distance(step, value, theirs)
            if step.endswith(".inner") and distance > self.tolerance:  # some modules apply ReLU in the same call
                distance = min(distance, self.distance(step, value.relu(), theirs))
            if distance <= self.tolerance:
                matched.append(step)
                return value
            differing.append((step, distance, value))
            raise _DiffersError

        try:
            compute(self.weights, plan, self.batch, observe)
        except _DiffersError:
            pass
        except (RuntimeError, IndexError, ValueError):  # a plan that does not fit these sizes
            return Agreement(tuple(matched), "sizes", float("inf"))
        if differing:
            step, distance, value = differing[0]
            return Agreement(tuple(matched), step, distance, value)
        return Agreement(tuple(matched), "", 0.0)

    def distance(self, step: str, ours: Tensor, theirs: Tensor) -> float:
        """Return the largest difference at positions of real tokens, relative to the largest value."""
        if step == "logits" and self.log_probabilities:
            ours = ours.log_softmax(-1)
        if ours.shape != theirs.shape:
            return float("inf")
        theirs, kept, largest = self._reference(step, theirs)
        ours = ours.to(torch.float64)
        difference = float(torch.where(kept, (ours - theirs).abs(), 0.0).max())
        if not math.isfinite(difference):  # NaN in both is no difference
            both = ours.isnan() & theirs.isnan()
            difference = float(torch.where(kept & ~both, (ours - theirs).abs(), 0.0).max())
        return difference / largest if math.isfinite(difference) else math.inf

    def _reference(self, step: str, theirs: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return a recorded step in float64, which of its elements count, and the largest of these."""
        if step not in self._references:
            x, kept = theirs.to(torch.float64), self.kept(step, theirs)
            if step.endswith(".scores"):
                kept = kept & (x > _MASKED) & (x.abs() < -_MASKED)
            largest = float(torch.where(kept & ~x.isnan(), x.abs(), 0.0).max())
            self._references[step] = x, kept, max(largest, 1e-12)
        return self._references[step]

    def kept(self, step: str, x: Tensor) -> Tensor:
        """Return True at rows of real tokens, with the shape of x."""
        source = step.startswith(("source", "encoder")) or step.endswith(
            (".cross.memory", ".cross.keys", ".cross.values")
        )
        ids = self.batch.source if source else self.batch.target
        real = ids != self.batch.pad_id
        if x.dim() == 4:
            return real[:, None, :, None].expand(x.shape)
        if real.shape != x.shape[:2]:
            return torch.ones_like(x, dtype=torch.bool)
        return real[..., None].expand(x.shape)


def diagnose(comparer: Comparer, plan: Plan, seconds: float = 10.0) -> Diagnosis:
    """Find the changes to a plan that reproduce the recorded steps.

    Args:
        comparer: The recording.
        plan: The paper's plan, with the legitimate choices that are known already.
        seconds: Time limit.

    Returns:
        The changes, and the steps that remain unexplained.
    """
    start = time.perf_counter()
    result = Diagnosis(tolerance=comparer.tolerance, compared=tuple(comparer.steps))
    current = comparer.agreement(plan)
    result.first = current
    known, searched = list(variations()), set[str]()
    while not current.complete and len(result.variations) + len(result.unexplained) < _MOST_ROUNDS:
        pairs = family(current.step) not in searched  # what no pair reproduced in one layer, none does in the next
        found = _best(comparer, plan, current, known if pairs else [], start + seconds)
        if found is None:
            result.exhausted = time.perf_counter() > start + seconds
            if result.exhausted or current.step in ("logits", "sizes"):
                result.unexplained.append(current)
                break
            result.unexplained.append(current)
            searched.add(family(current.step))
            comparer.forced.add(current.step)
            current = comparer.agreement(plan)
            continue
        changes, alternatives = found
        for index, change in enumerate(changes):
            result.variations.append((change, current))
            result.alternatives.append(alternatives if index == len(changes) - 1 else ())
            plan = change.apply(plan)
        current = comparer.agreement(plan)
    result.seconds = time.perf_counter() - start
    return result


def family(step: str) -> str:
    """Return a step without side and number of its layer: "encoder.0.self.scores" -> "self.scores"."""
    return step.partition(".")[2].partition(".")[2] or step


def _best(
    comparer: Comparer, plan: Plan, current: Agreement, known: Sequence[Variation], end: float
) -> tuple[tuple[Variation, ...], tuple[str, ...]] | None:
    """Return the change, or pair of changes, after which most steps agree, and equally good ones."""
    tried: list[tuple[int, tuple[Variation, ...]]] = []
    relevant = []
    for change in known:
        agreement = _attempt(comparer, plan, (change,))
        if agreement is not None and _progress(agreement, current):
            tried.append((_reached(agreement), (change,)))
        elif agreement is not None and _is_relevant(agreement, current):
            relevant.append(change)
    complete = any(reached == _COMPLETE for reached, _ in tried)
    for change in () if complete else _special(comparer, plan, current):
        if time.perf_counter() > end:
            break
        agreement = _attempt(comparer, plan, (change,))
        if agreement is not None and _progress(agreement, current):
            tried.append((_reached(agreement), (change,)))
    for pair in () if tried else combinations(relevant, 2):
        if time.perf_counter() > end:
            break
        agreement = _attempt(comparer, plan, pair)
        if agreement is not None and _progress(agreement, current):
            tried.append((_reached(agreement), pair))
            break
    if not tried:
        return None
    most = max(reached for reached, _ in tried)
    best = [changes for reached, changes in tried if reached == most]
    names = dict.fromkeys(change.name for changes in best[1:] for change in changes)
    return best[0], tuple(name for name in names if name not in (best[0][-1].name, "multiple"))


def _special(comparer: Comparer, plan: Plan, current: Agreement) -> Iterator[Variation]:
    """Yield changes of the part that differs alone, then, if the step is a multiple of ours, that factor."""
    parts = current.step.split(".")
    if len(parts) == 4:
        yield from local_variations(current.step)
    theirs = comparer.steps.get(current.step)
    if theirs is not None and current.ours is not None and theirs.shape == current.ours.shape:
        kept = comparer.kept(current.step, theirs)
        scaled = factor(current.ours[kept], theirs[kept])
        if scaled is not None:
            yield from multiples(plan, current.step, scaled)


def _attempt(comparer: Comparer, plan: Plan, changes: tuple[Variation, ...]) -> Agreement | None:
    """Return the agreement of the changed plan; None if nothing changes or the plan does not fit the sizes."""
    changed = plan
    for change in changes:
        changed = change.apply(changed)
    agreement = comparer.agreement(changed) if changed != plan else None
    return None if agreement is None or agreement.step == "sizes" else agreement


def _is_relevant(agreement: Agreement, current: Agreement) -> bool:
    """Tell whether a change affects the step that differs, or one that was not compared, and breaks none before it."""
    kept = set(current.matched) <= set(agreement.matched)
    return kept and (agreement.step, agreement.distance) != (current.step, current.distance)


def _reached(agreement: Agreement) -> int:
    return _COMPLETE if agreement.complete else len(agreement.matched)


def _progress(agreement: Agreement, current: Agreement) -> bool:
    """Tell whether the step that differed agrees now, and none that agreed differs."""
    return agreement.complete or (set(current.matched) <= set(agreement.matched) and current.step in agreement.matched)


def factor(ours: Tensor, theirs: Tensor) -> float | None:
    """Return c if theirs = c · ours to one part in a thousand, else None."""
    kept = (ours.abs() > ours.abs().max() * 1e-3) & theirs.isfinite() & (theirs.abs() < -_MASKED)
    if not bool(kept.any()):
        return None
    ratios = (theirs[kept] / ours[kept]).double()
    middle = ratios.median()
    return float(middle) if bool(((ratios - middle).abs() <= 1e-3 * middle.abs()).all()) else None
