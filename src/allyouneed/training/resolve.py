"""Resolution of a request to settings, tokenizer and initial weights, each read once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import Config
from allyouneed.data.corpora import count_all_pairs
from allyouneed.data.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.languages import describe_pair, language_code, stored_language_code
from allyouneed.snapshots import KEPT
from allyouneed.training.distributed import Ranks
from allyouneed.training.further import changeable_settings, fine_tuning_config, remarks
from allyouneed.training.request import Request, assignments_of, base_config, explicit_settings, identity
from allyouneed.training.run_record import RunRecord
from allyouneed.training.schedule import plan_for_steps
from allyouneed.training.size import DEFAULT_MINUTES, choose_size
from allyouneed.translation.bleu_tokenizers import AUTO, bleu_metric, choose_tokenizer


@dataclass(frozen=True)
class ResolvedRequest:
    """A request with everything that it refers to.

    Attributes:
        request: The request as given.
        config: The settings of the run.
        start: Bundle to train further, on the CPU.
        teacher: Bundle of the teacher, on the CPU.
    """

    request: Request
    config: Config
    start: Bundle | None = None
    teacher: Bundle | None = None

    @property
    def tokenizer(self) -> AnyTokenizer | None:
        """The tokenizer of the start or the teacher; None if a new tokenizer must be trained."""
        origin = self.start or self.teacher
        return origin.tokenizer if origin else None


def resolve(
    request: Request,
    record: RunRecord,
    device: torch.device,
    ranks: Ranks,
    show: Callable[[str], None],
    teacher: Bundle | None = None,
) -> ResolvedRequest:
    """Load the bundles of a request, and determine the settings: the stored ones if the run exists, else new ones.

    Args:
        request: The request.
        record: Record of the run, which stores new settings.
        device: Device of the training; its speed determines the recipe if none is named.
        ranks: Processes of the run, which share the settings of rank 0.
        show: Callback that shows a line to the user.
        teacher: The bundle of `request.teacher`, if it is already loaded.

    Raises:
        UserError: If a file is missing, or if the run was started with other text or settings and has taken a step.
    """
    start = load_bundle(request.start_from) if request.start_from else None
    if request.teacher and teacher is None:
        teacher = load_bundle(request.teacher)
    request = replace(request, languages=_languages(request, record, start, teacher))
    for line in describe_pair(*request.languages):
        show(line)
    described = identity(request) if ranks.is_first else {}
    config = None
    if ranks.is_first:
        new = _NewConfig(request, start, teacher, device, show)
        config = _agreed_config(request, described, record, new.choose, show)
    return ResolvedRequest(request, ranks.share(config), start, teacher)


def _languages(request: Request, record: RunRecord, start: Bundle | None, teacher: Bundle | None) -> tuple[str, str]:
    """Return canonical codes; those that a run or bundle of an earlier version has are accepted in any case."""
    accepted = set(record.content.get("asked", {}).get("languages", ()))
    accepted.update(*(bundle.languages for bundle in (start, teacher) if bundle))
    codes = [stored_language_code(code) if code in accepted else language_code(code) for code in request.languages]
    return codes[0], codes[1]


def _agreed_config(
    request: Request,
    described: dict[str, Any],
    record: RunRecord,
    choose: Callable[[], Config],
    show: Callable[[str], None],
) -> Config:
    started = record.content.get("asked", {})
    if "languages" in started:  # earlier versions stored them as they were given
        started = {**started, "languages": [stored_language_code(code) for code in started["languages"]]}
    if described == started:
        return record.config
    if "plan" not in record.content:  # no step was taken: remove the data of an earlier, mistaken command
        for leftover in ("data", "checkpoints", KEPT):
            shutil.rmtree(request.out / leftover, ignore_errors=True)
        config = choose()
        record.update(asked=described, config=config.model_dump(mode="json"))
        return config
    longer = _with_more_steps(started, described, record.config)
    if longer is None:
        changed = next(key for key in {**described, **started} if described.get(key) != started.get(key))
        raise UserError(
            f"{request.out} was started with {changed} = {started.get(changed)}, now {described.get(changed)}. "
            "Choose another --out, or repeat the original command."
        )
    plan = plan_for_steps(longer, explicit_settings(request)).as_dict()
    record.update(asked=described, config=longer.model_dump(mode="json"), plan=plan, finished=None)
    show(f"continuing to {longer.training.steps:,} steps")
    return longer


def _with_more_steps(started: dict[str, Any], described: dict[str, Any], config: Config) -> Config | None:
    """Return the settings with more steps if nothing else differs; only the decay 1/√step can be continued."""

    def without_steps(run: dict[str, Any]) -> dict[str, Any]:
        settings = [setting for setting in run["settings"] if not setting.startswith("training.steps")]
        return {**run, "settings": settings}

    longer = config.override(described["settings"])
    if longer.training.bleu_tokenizer == AUTO:
        longer = longer.replace(training={"bleu_tokenizer": config.training.bleu_tokenizer})
    can_continue = config.training.decay == "inverse_sqrt" and config.training.minutes is None
    more = longer.training.steps > config.training.steps
    return longer if without_steps(started) == without_steps(described) and can_continue and more else None


def _refuse_two_durations(request: Request) -> None:
    """Raise `UserError` if both or different values of training.steps and training.minutes are given."""
    steps, minutes = (assignments_of(request.settings, f"training.{name}") for name in ("steps", "minutes"))
    given = {Config().override([each]).training.minutes for each in minutes}
    if len(given) > 1:
        shown = " and ".join("none" if each is None else f"{each:g}" for each in sorted(given, key=lambda x: x or 0))
        raise UserError(f"training.minutes (--minutes) is given twice, as {shown}. Remove one of them.")
    if steps and given - {None}:
        raise UserError("training.steps and training.minutes are both given. Remove one of them.")
    if not (steps or minutes) and {"training.steps", "training.minutes"} <= explicit_settings(request):
        raise UserError(
            f"recipe {request.recipe}: training.steps and training.minutes are both given. Remove one of them."
        )


@dataclass(frozen=True)
class _NewConfig:
    """Choice of the settings for a run that does not exist yet."""

    request: Request
    start: Bundle | None
    teacher: Bundle | None
    device: torch.device
    show: Callable[[str], None]

    def choose(self) -> Config:
        config = self._choose()
        if config.training.teacher_share and self.teacher is None:
            raise UserError("training.teacher_share needs the teacher of `allyouneed distil`. Remove the setting.")
        if config.training.freeze and not (self.start or self.teacher):
            raise UserError(
                "training.freeze (--freeze) without --start-from: the frozen weights would stay random. Name a start, "
                "or remove it."
            )
        return self._with_tokenizer(config)

    def _with_tokenizer(self, config: Config) -> Config:
        """Settle BLEU's tokenizer, so that a resumed run has the same although, say, MeCab was installed meanwhile."""
        name, remark = choose_tokenizer(config.training.bleu_tokenizer, self.request.languages[1])
        bleu_metric(tokenize=name)  # fails before the training starts
        if remark:
            self.show(remark)
        return config.replace(training={"bleu_tokenizer": name})

    def _choose(self) -> Config:
        request = self.request
        _refuse_two_durations(request)
        origin = self.start or self.teacher
        given = changeable_settings(request, origin) if origin else request.settings
        steps, minutes = (assignments_of(request.settings, f"training.{name}") for name in ("steps", "minutes"))
        settings = [*(["training.minutes=none"] if steps else []), *given]
        if self.start is not None:
            for line in remarks(request, self.start):
                self.show(line)
            return fine_tuning_config(request, self.start, has_steps=bool(steps)).override(settings)
        if self.teacher is not None:
            size = len(self.teacher.tokenizer)
            return base_config(request).override(settings).replace(data={"vocab_size": size})
        if request.recipe is not None:
            return base_config(request).override(settings)
        planned = Config().override(minutes).training.minutes or DEFAULT_MINUTES
        choice = choose_size(count_all_pairs(request.train), planned, self.device)
        config = choice.config.override(settings)
        default = "" if minutes or steps else f" (no --minutes given: {DEFAULT_MINUTES:g})"
        self.show(f"recipe {choice.recipe}, chosen for {choice.reason}{default}")
        return config
