"""Selection of the weights of the final bundle among candidates: averages, snapshots and the weights of the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import Tensor

from allyouneed.training.patience import show_quality
from allyouneed.training.reporting.log import RunLog

START, BEFORE_EXTENSION = "the start", "the bundle before the extension"  # names of baselines
# Smaller differences of BLEU and chrF on a validation set are noise, and averages generalise better.
_CLEARLY_BETTER = {"bleu": 0.5, "chrf": 0.5, "loss": 0.0}
Weights: TypeAlias = Mapping[str, Tensor]


class Candidate(NamedTuple):
    """Weights for the bundle, and their quality on the validation text (higher is better)."""

    name: str
    weights: Weights
    quality: float


@dataclass(frozen=True)
class Selection:
    """Measurement and choice of candidates.

    Attributes:
        step: Step at the end of training, for the log.
        measure: Returns the quality of weights on the validation text.
        metric: Metric of quality, see `patience.metric_of`.
        log: Log of the run.
    """

    step: int
    measure: Callable[[Weights], float]
    metric: str
    log: RunLog

    def choose(
        self, candidates: Iterable[tuple[str, Weights]], baselines: Mapping[str, Callable[[], Weights]]
    ) -> Candidate:
        """Choose the first candidate, the last if it is clearly better, or a baseline if it is better at all.

        Args:
            candidates: Names and weights: the average, then the best snapshot.
            baselines: Functions by name that load the weights from which training began.
        """
        measured = [self._measured(name, weights) for name, weights in candidates]
        chosen, best = measured[0], measured[-1]  # the same candidate if there is only one
        if best.quality > chosen.quality + _CLEARLY_BETTER[self.metric]:
            chosen = best
        for name, load in baselines.items():
            baseline = self._measured(name, load())
            if baseline.quality > chosen.quality:
                better, against = (show_quality(each.quality, self.metric) for each in (baseline, chosen))
                by = "slightly better" if better == against else "better"  # as far as is shown
                self.log.show(
                    f"{name} was {by}: {better} against {against.rpartition(' ')[2]}; the bundle keeps {name}'s "
                    "weights. Train longer, on more text, or with another training.learning_rate."
                )
                chosen = baseline
        return chosen

    def _measured(self, name: str, weights: Weights) -> Candidate:
        candidate = Candidate(name, weights, self.measure(weights))
        self.log.record("candidate", step=self.step, name=name, quality=candidate.quality)
        return candidate
