"""Choice of the settings of a run: those of the recipe, the start or the teacher, then the user's overrides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.data.corpora import count_all_pairs
from allyouneed.data.directions import code_of, targets_of
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.errors import UserError
from allyouneed.training.request import Request, assignments_of, base_config, explicit_settings, explicit_values
from allyouneed.training.resolution.further import changeable_settings, fine_tuning_config, remarks
from allyouneed.training.resolution.size import DEFAULT_MINUTES, choose_size
from allyouneed.training.resolution.vocabulary_settings import existing_tokenizer, of_own_tokenizer, settle_vocabulary
from allyouneed.translation.evaluation.bleu_tokenizers import bleu_metric, choose_tokenizer


@dataclass(frozen=True)
class Choice:
    """The settings that a request asks for.

    Attributes:
        request: The request.
        start: Bundle to train further.
        teacher: Bundle of the teacher.
        device: Device of the training; its speed determines the recipe if none is named.
    """

    request: Request
    start: Bundle | None
    teacher: Bundle | None
    device: torch.device

    def check(self) -> None:
        """Check the overrides before any work.

        Raises:
            UserError: If a setting contradicts another one, the start or the teacher.
        """
        _refuse_two_durations(self.request)
        _refuse_unmeasured_quality(self.request)
        self._overrides()
        self._check_directions()

    def base(self, show: Callable[[str], None]) -> Config:
        """Return the settings without the overrides.

        Args:
            show: Callback that shows a line to the user.

        Raises:
            UserError: If there is no such recipe, or the text cannot be read.
        """
        request = self.request
        steps, minutes = (assignments_of(request.settings, f"training.{name}") for name in ("steps", "minutes"))
        if self.start is not None:
            for line in remarks(request, self.start):
                show(line)
            return fine_tuning_config(request, self.start, has_steps=bool(steps))
        if self.teacher is not None:
            return base_config(request).replace(data={"vocab_size": len(self.teacher.tokenizer)})
        if request.recipe is not None:
            return base_config(request)
        planned = Config().override(minutes).training.minutes or DEFAULT_MINUTES
        choice = choose_size(count_all_pairs(request.train, show), planned, self.device)
        default = "" if minutes or steps else f" (no --minutes given: {DEFAULT_MINUTES:g})"
        show(f"recipe {choice.recipe}, chosen for {choice.reason}{default}")
        return choice.config

    def apply(self, base: Config) -> Config:
        """Apply the overrides to the settings of `base`.

        Raises:
            UserError: If a value is invalid, or contradicts another setting.
        """
        config = base.override(self._overrides())
        if config.training.teacher_share and self.teacher is None:
            raise UserError("training.teacher_share needs the teacher of `allyouneed distil`. Remove the setting.")
        if config.training.freeze and not (self.start or self.teacher):
            raise UserError(
                "training.freeze (--freeze) without --start-from: the frozen weights would stay random. Name a start, "
                "or remove it."
            )
        explicit = explicit_settings(self.request)
        tokenizer = existing_tokenizer(self.request, config, self.start or self.teacher)
        if self.request.tokenizer and isinstance(tokenizer, Tokenizer):
            config = of_own_tokenizer(config, tokenizer, explicit)
        return settle_vocabulary(config, tokenizer, explicit)

    def settle(self, config: Config, show: Callable[[str], None]) -> Config:
        """Settle BLEU's tokenizer, so that a resumed run has the same although, say, MeCab was installed meanwhile.

        A multilingual model has one for each target language.
        """
        if len(targets_of(self.request.directions)) > 1:
            return config
        name, remark = choose_tokenizer(config.training.bleu_tokenizer, self.request.languages[1])
        bleu_metric(tokenize=name)  # fails before the training starts
        if remark:
            show(remark)
        return config.replace(training={"bleu_tokenizer": name})

    def _check_directions(self) -> None:
        directions = self.request.directions
        if self.start is None:
            return
        if self.start.directions and not directions:
            raise UserError(
                "--start-from names a multilingual model. Give --directions, for example --directions de-en."
            )
        missing = [each for each in targets_of(directions) if code_of(each) not in self.start.tokenizer.codes]
        if missing:
            raise UserError(
                f"--start-from: its vocabulary has no token {code_of(missing[0])}, which names the target "
                "language. Train a new multilingual model, or give a start that has it."
            )

    def _overrides(self) -> list[str]:
        origin = self.start or self.teacher
        given = changeable_settings(self.request, origin) if origin else self.request.settings
        steps = assignments_of(self.request.settings, "training.steps")
        return [*(["training.minutes=none"] if steps else []), *given]


def _refuse_unmeasured_quality(request: Request) -> None:
    """Raise `UserError` if `training.quality` is given, but nothing is translated to measure it."""
    given = explicit_values(request)
    quality = given.get("training.quality", "loss")
    if quality != "loss" and given.get("training.bleu_sentences") == 0:
        raise UserError(
            f"training.quality = {quality} needs translations, but training.bleu_sentences = 0. Set it above 0, or "
            "training.quality=loss."
        )


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
