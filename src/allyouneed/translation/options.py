"""Search options, declared once for Python, the command line and HTTP: names, defaults, bounds and descriptions.

A new option is one field of `SearchOptions` (and one line of `SearchOverrides`, which type checkers read).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from allyouneed.config import SearchConfig
from allyouneed.config.descriptions import plain_message, shown
from allyouneed.errors import UserError


@dataclass(frozen=True)
class Option:
    """Metadata of a field of `SearchOptions` for the command line and other tools.

    Attributes:
        group: Heading in `allyouneed translate --help`.
        ctranslate2: Name of the option in CTranslate2's `translate_batch`; None if there is no such option.
        flag: Command-line flag if it differs from the field's name with dashes; "" if there is none.
        metavar: Placeholder for the value in help texts; None for the default of the type.
    """

    group: Literal["Search", "Constraints", "Sampling", "Speed"]
    ctranslate2: str | None
    flag: str | None = None
    metavar: str | None = None


def _utf8(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("not valid UTF-8") from None
    return text


class NumbersAreNotBooleans(BaseModel):
    """Base of models whose numbers may not be given as booleans, which pydantic would convert to 0 and 1."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool):
            annotation = cls.model_fields[str(info.field_name)].annotation
            if {int, float} & {annotation, *get_args(annotation)}:
                raise ValueError("must be a number")
        return value


class SearchOptions(NumbersAreNotBooleans):
    """Options of a search, validated and immutable. None means the bundle's own setting (`config.SearchConfig`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    beam_size: Annotated[int | None, Option("Search", "beam_size")] = Field(
        default=None, ge=1, le=1024, description="Hypotheses kept at each step (1: greedy). Default: the bundle's."
    )
    num_hypotheses: Annotated[int, Option("Search", "num_hypotheses", flag="--nbest", metavar="N")] = Field(
        default=1, ge=1, le=1024, description="Number of translations to return per text, at most the beam size."
    )
    length_penalty: Annotated[float | None, Option("Search", "length_penalty")] = Field(
        default=None, ge=-10, le=10, description="α of section 6.1 (0: off). Default: the bundle's."
    )
    length_offset: Annotated[float | None, Option("Search", None)] = Field(
        default=None,
        ge=0,
        le=1000,
        description="k of the length penalty ((k + |Y|) / (k + 1))^α. Default: the bundle's.",
    )
    coverage_penalty: Annotated[float, Option("Search", "coverage_penalty")] = Field(
        default=0.0, ge=0, le=1000, description="β, the penalty on source tokens without attention (0: off)."
    )
    minimum_bayes_risk: Annotated[bool, Option("Search", None, flag="--mbr/--no-mbr")] = Field(
        default=False,
        description="Choose the hypothesis of the beam with the highest expected BLEU, compared with the others.",
    )
    num_beam_groups: Annotated[int, Option("Search", None)] = Field(
        default=1, ge=1, le=1024, description="Number of diverse beam groups (1: off); divides the beam size."
    )
    diversity_penalty: Annotated[float, Option("Search", None)] = Field(
        default=0.5, ge=0, le=1000, description="Penalty on tokens already chosen by earlier beam groups."
    )
    min_decoding_length: Annotated[int, Option("Constraints", "min_decoding_length")] = Field(
        default=0, ge=0, le=100_000, description="Minimum number of output tokens."
    )
    max_decoding_length: Annotated[int | None, Option("Constraints", "max_decoding_length")] = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Maximum number of output tokens, where the end is forced and scored (default: the source's plus "
        "max_extra_length).",
    )
    max_extra_length: Annotated[int | None, Option("Constraints", None)] = Field(
        default=None, ge=0, le=100_000, description="Output tokens beyond the source's length. Default: the bundle's."
    )
    no_repeat_ngram_size: Annotated[int, Option("Constraints", "no_repeat_ngram_size")] = Field(
        default=0, ge=0, le=100_000, description="Forbid repeating any n-gram of this size (0: off)."
    )
    repetition_guard: Annotated[bool, Option("Constraints", None, flag="--repetition-guard/--no-repetition-guard")] = (
        Field(
            default=True, description="Translate again, with repeated n-grams forbidden, what repeats itself endlessly."
        )
    )
    repetition_penalty: Annotated[float, Option("Constraints", "repetition_penalty")] = Field(
        default=1.0, gt=0, le=1000, description="Penalty on repeating a token (above 1: fewer repetitions; 1: off)."
    )
    suppress_sequences: Annotated[
        tuple[Annotated[str, AfterValidator(_utf8)], ...],
        Option("Constraints", "suppress_sequences", flag="--suppress", metavar="TEXT"),
    ] = Field(default=(), max_length=10_000, description="Text that must never be generated (repeatable).")
    sampling_topk: Annotated[int | None, Option("Sampling", "sampling_topk")] = Field(
        default=None, ge=0, lt=2**31, description="Sample from the K most likely tokens (0: all)."
    )
    sampling_topp: Annotated[float, Option("Sampling", "sampling_topp")] = Field(
        default=1.0, gt=0, le=1, description="Sample from the most likely tokens with this total probability."
    )
    sampling_temperature: Annotated[float, Option("Sampling", "sampling_temperature")] = Field(
        default=1.0, ge=1e-6, le=1e6, description="Sample after dividing the logits by this temperature."
    )
    seed: Annotated[int, Option("Sampling", None)] = Field(default=1, ge=0, lt=2**63, description="Sampling seed.")
    batch_tokens: Annotated[int | None, Option("Speed", "max_batch_size")] = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Source tokens per batch, times the beam size. Default: the bundle's.",
    )
    return_scores: Annotated[bool, Option("Speed", "return_scores", flag="")] = Field(
        default=True, description="Compute scores; greedy search is faster without them (scores are then NaN)."
    )
    drafts: Annotated[bool | None, Option("Speed", None, flag="--drafts/--no-drafts")] = Field(
        default=None,
        description="Verify several drafted tokens per step in greedy search of one sentence. The translation is the "
        "same. Default: where it is faster.",
    )

    @model_validator(mode="after")
    def _check_beam(self) -> SearchOptions:
        beam = 1 if self.beam_size is None and self.samples else self.beam_size
        if beam is None:  # checked once the bundle's beam size is known
            return self
        if self.num_hypotheses > beam:
            raise ValueError(f"num_hypotheses (--nbest) = {self.num_hypotheses}: choose 1 to beam_size = {beam}.")
        if self.samples and beam != 1:
            raise ValueError(f"sampling with beam_size = {beam}: sampling draws one token at a time; set it to 1.")
        if self.num_beam_groups > beam or beam % self.num_beam_groups:
            raise ValueError(f"num_beam_groups = {self.num_beam_groups}: choose a divisor of beam_size = {beam}.")
        return self

    @model_validator(mode="after")
    def _check_lengths(self) -> SearchOptions:
        longest, shortest = self.max_decoding_length, self.min_decoding_length
        if longest is not None and longest < shortest:
            raise ValueError(f"max_decoding_length = {longest}: choose at least min_decoding_length = {shortest}.")
        return self

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled: true if one of the `sampling_*` options is set."""
        return self.sampling_topk is not None or self.sampling_topp < 1 or self.sampling_temperature != 1

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> SearchOptions:
        """Make options from values by field name, and validate them.

        Raises:
            TypeError: If a name is not a field's.
            UserError: If a value is out of bounds or conflicts with another.
        """
        return _validated(cls, values)

    def replace(self, changes: Mapping[str, Any]) -> SearchOptions:
        """Return a validated copy.

        Args:
            changes: New values by field name.

        Raises:
            TypeError: If a name is not a field's.
            UserError: If a value is out of bounds or conflicts with another.
        """
        return _validated(SearchOptions, {**self.model_dump(), **changes}) if changes else self

    def resolve(self, settings: SearchConfig) -> ResolvedOptions:
        """Fill in the bundle's settings where an option is None. With sampling, the default beam size is 1.

        Raises:
            UserError: If an option conflicts with the settings, for example more hypotheses than the beam size.
        """
        return _resolved(self, settings)


class ResolvedOptions(SearchOptions):
    """Search options with the bundle's settings filled in; see `SearchOptions.resolve`."""

    beam_size: int
    length_penalty: float
    length_offset: float
    max_extra_length: int
    batch_tokens: int

    def longest_output(self, source_tokens: int, positions: int | None) -> int:
        """Return the maximum number of tokens of a translation, the end not counted.

        Args:
            source_tokens: Number of tokens of the source, the end not counted.
            positions: Number of the decoder's learned positions; None if there is no limit.
        """
        longest = self.max_decoding_length
        if longest is None:
            longest = source_tokens + self.max_extra_length
        return longest if positions is None else min(longest, positions - 1)  # one more for the start


class SearchOverrides(TypedDict, total=False):
    """Keyword arguments of `Translator.translate`: the fields of `SearchOptions`, for type checkers and editors."""

    beam_size: int | None
    num_hypotheses: int
    length_penalty: float | None
    length_offset: float | None
    coverage_penalty: float
    minimum_bayes_risk: bool
    num_beam_groups: int
    diversity_penalty: float
    min_decoding_length: int
    max_decoding_length: int | None
    max_extra_length: int | None
    no_repeat_ngram_size: int
    repetition_guard: bool
    repetition_penalty: float
    suppress_sequences: tuple[str, ...] | list[str]
    sampling_topk: int | None
    sampling_topp: float
    sampling_temperature: float
    seed: int
    batch_tokens: int | None
    return_scores: bool
    drafts: bool | None


Options = TypeVar("Options", bound=SearchOptions)


@lru_cache(maxsize=64)  # both are immutable, and a server resolves the same options for every sentence
def _resolved(options: SearchOptions, settings: SearchConfig) -> ResolvedOptions:
    values = options.model_dump()
    defaults = settings.model_dump() | ({"beam_size": 1} if options.samples else {})
    return _validated(
        ResolvedOptions, values | {name: value for name, value in defaults.items() if values[name] is None}
    )


def option_of(name: str) -> Option:
    """Return the `Option` of a field of `SearchOptions`."""
    [option] = (each for each in SearchOptions.model_fields[name].metadata if isinstance(each, Option))
    return option


def _validated(kind: type[Options], values: Mapping[str, Any]) -> Options:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path, message = ".".join(map(str, first["loc"])), plain_message(first)
        if first["type"] == "extra_forbidden":
            raise TypeError(f"unknown search option {path!r}") from error
        if not path:  # an error across several options, which the message names
            raise UserError(message) from error
        raise UserError(f"{path} = {shown(first['input'])}: {message}.") from error
