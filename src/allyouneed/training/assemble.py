"""Assembly of a training loop: model, optimizers, data, log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Bundle, build_model, load_weights, weights_of
from allyouneed.data.directions import Direction
from allyouneed.data.mixture import Mixture, mixture_of
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import longest_sentence
from allyouneed.errors import UserError
from allyouneed.model.packed_forward import packs
from allyouneed.model.transformer import Transformer
from allyouneed.training.distributed.parallel import parallelise
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.freeze import freeze
from allyouneed.training.initialise import initialise_from
from allyouneed.training.loop import Loop
from allyouneed.training.memory import refuse_oversized
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.planning.available_memory import available_memory
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.memory_estimate import LargestStep
from allyouneed.training.planning.micro_batches import WHOLE, MicroBatches, describe, settle
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.resolution.extension import is_extended, kept_weights
from allyouneed.training.resolution.resolve import ResolvedRequest
from allyouneed.training.selection import BEFORE_EXTENSION, START, Weights
from allyouneed.training.step import TrainingState, uses_bf16
from allyouneed.training.validation import ValidationSet

INITIALISED = "initial layers"  # name of a student's note about the layers copied from its teacher


@dataclass(frozen=True)
class LoopParts:
    """Everything that a loop needs except its plan.

    Attributes:
        resolved: The request and the settings.
        prepared: The prepared text.
        log: Log and progress.
        ranks: Processes of the run.
        device: Device of the training.
        watch: The clock of the run.
        before_search: See `Loop`.
        micro_batches: Parts of each batch, and the memory for which they were chosen.
    """

    resolved: ResolvedRequest
    prepared: PreparedData
    log: RunLog
    ranks: Ranks
    device: torch.device
    watch: Stopwatch
    before_search: Callable[[], None]
    micro_batches: MicroBatches = WHOLE

    def with_micro_batches(self, stored: int | None) -> LoopParts:
        """Choose the number of micro-batches, or keep that of the settings or of a run that is resumed.

        Args:
            stored: The number with which the run has taken steps, so that it resumes bit-exactly; None before.
        """
        config = self.resolved.config
        step = LargestStep(
            config=config,
            vocab_size=len(self.prepared.tokenizer().target),
            longest=longest_sentence(self.prepared.train_pairs),
            ranks=self.ranks.count,
            is_packed=self._packs(),
        )
        given = config.training.micro_batches or stored
        chosen = self.ranks.share(settle(step, given, available_memory(self.device)) if self.ranks.is_first else None)
        for line in describe(chosen, config.training.batch_tokens, is_given=given is not None):
            self.log.show(line)
        return replace(self, micro_batches=chosen)

    def assemble(self, plan: TrainingPlan) -> Loop:
        """Build a new loop at step 0; the same seed gives the same model.

        Raises:
            UserError: If the model does not fit into memory, or does not match the weights that it starts from.
        """
        request, config = self.resolved.request, self.resolved.config
        tokenizer, report = self.prepared.tokenizer(), self.prepared.report()["train"]
        refuse_oversized(config, len(tokenizer), self.device, self.ranks.count)
        torch.manual_seed(config.training.seed)
        build = partial(request.build, plain=config.training.plain)
        model = build_model(config.model, tokenizer, build)
        notes = {"training pairs": report["kept"], "training files": ", ".join(Path(f).name for f in report["files"])}
        taught_by = self._initialise(model, notes)
        freeze(model, config.training.freeze)
        copy, state = self._start(model, taught_by, plan)
        if config.training.freeze:
            notes["frozen"] = ", ".join(config.training.freeze)
        origins = [bundle for bundle in (self.resolved.start, *self.resolved.teachers) if bundle]
        longest = max(report["longest_source"], *(bundle.longest_source for bundle in origins), 0)
        return Loop(
            run=request.out,
            bundle=Bundle(
                copy, tokenizer, config, request.languages, longest, notes=notes, directions=request.directions
            ),
            plan=plan,
            state=state,
            store=self.prepared.train_pairs,
            valid=ValidationSet(self.prepared.valid_pairs, self.prepared.valid_texts(), self.valid_parts),
            ranks=self.ranks,
            log=self.log,
            mixture=self.mixture,
            micro_batches=self.micro_batches,
            baselines=self._baselines(),
            now=self.watch.now_running,
            before_search=self.before_search,
        )

    def _start(
        self, model: Transformer, teachers: Sequence[Transformer], plan: TrainingPlan
    ) -> tuple[Transformer, TrainingState]:
        """Return the model that translates, see `Loop.bundle`, and the training state."""
        training, ranks = self.resolved.config.training, self.ranks
        if training.sharding and ranks.count > 1:  # the engine moves one layer after the other to the device
            copy = deepcopy(model).to(self.device) if ranks.is_first else model
        else:
            copy = model = model.to(self.device)
        engine = parallelise(model, ranks, training.sharding)
        optimizers = make_optimizers(model, training, plan.learning_rate, ranks)  # of the parameters that it left
        state = TrainingState(model, optimizers, teachers=teachers)
        state.engine = engine
        return copy, state

    def _packs(self) -> bool:
        """Return whether the model is trained on packed batches."""
        config, build = self.resolved.config, self.resolved.request.build
        is_packable = getattr(build, "packable", True) and not config.training.plain
        return is_packable and packs(config.model, self.device, uses_bf16(config.training, self.device))

    def _baselines(self) -> dict[str, Callable[[], Weights]]:
        """Return functions that load the weights from which training began, by name."""
        run, start = self.resolved.request.out, self.resolved.start
        baselines: dict[str, Callable[[], Weights]] = {START: partial(weights_of, start.model)} if start else {}
        return baselines | ({BEFORE_EXTENSION: partial(kept_weights, run)} if is_extended(run) else {})

    @property
    def mixture(self) -> Mixture | None:
        """Weights of the training corpora, with the numbers of their usable pairs."""
        kept = [report["kept"] for report in self.prepared.corpora()]
        return mixture_of(kept, [corpus.weight for corpus in self.resolved.request.train])

    @property
    def valid_parts(self) -> tuple[tuple[Direction, int], ...]:
        """Direction and number of pairs of each part of the validation text; empty for a model of one direction."""
        request = self.resolved.request
        directions = [corpus.direction for corpus in request.valid] if request.valid else request.directions
        kept = [report["kept"] for report in self.prepared.corpora("valid")]
        return tuple((each, count) for each, count in zip(directions, kept, strict=False) if each)

    def _initialise(self, model: Transformer, notes: dict[str, Any]) -> list[Transformer]:
        """Copy weights of the start or the first teacher; return the teachers if the loss uses their distribution."""
        start, teachers, request = self.resolved.start, self.resolved.teachers, self.resolved.request
        if start and request.start_from:
            load_weights(model, weights_of(start.model), request.start_from)
        if not teachers:
            return []
        notes[INITIALISED] = initialise_from(model, teachers[0].model)
        if self.resolved.config.training.freeze and notes[INITIALISED].startswith("no layers"):
            raise UserError(
                f"training.freeze needs the teacher's weights, but {notes[INITIALISED]}. Remove the setting."
            )
        training = self.resolved.config.training
        if not training.teacher_share:
            return []
        models = (_plain_model(each) if training.plain else each.model for each in teachers)
        return [each.to(self.device).eval() for each in models]


def _plain_model(bundle: Bundle) -> Transformer:
    """Copy a bundle's weights into a model of the reference implementation."""
    model = build_model(bundle.config.model, bundle.tokenizer, partial(Transformer, plain=True))
    model.load_state_dict(bundle.model.state_dict())
    return model
