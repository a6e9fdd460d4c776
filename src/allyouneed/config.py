"""Typed settings. The defaults are the paper's base model (Vaswani et al., 2017); recipes hold what differs.

Settings come, in this order, from the defaults, a recipe (TOML), and overrides `SECTION.NAME=VALUE`. A key that does
not exist is refused with the nearest that does.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from allyouneed.errors import UserError


class Section(BaseModel):
    """Settings that do not change; a name that does not exist is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """Section 3 of the paper. Sizes are numbers of units; `d_k` and `d_v` default to `d_model / num_heads`."""

    d_model: int = Field(default=512, ge=2)
    d_ff: int = Field(default=2048, ge=1)
    num_heads: int = Field(default=8, ge=1)
    d_k: int | None = Field(default=None, ge=1)
    d_v: int | None = Field(default=None, ge=1)
    encoder_layers: int = Field(default=6, ge=1)
    decoder_layers: int = Field(default=6, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    norm: Literal["post", "pre"] = "post"
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    max_positions: int = Field(default=1024, ge=1)  # of learned positions; sinusoids have no end
    tie_embeddings: bool | Literal["target"] = True  # "target": only its embedding and the pre-softmax linear
    attention_bias: bool = False  # the paper's projections W^Q, W^K, W^V, W^O have none
    output_bias: bool = False  # nor has its pre-softmax linear; Marian's has
    activation: Literal["relu", "swish"] = "relu"  # between the linears of the feed-forward network; swish is Marian's

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelConfig:
        if (self.d_k is None or self.d_v is None) and self.d_model % self.num_heads:
            raise ValueError(
                f"model.d_model = {self.d_model} is not divisible by model.num_heads = {self.num_heads}; "
                "choose sizes that divide, or set model.d_k and model.d_v"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"model.d_model = {self.d_model} is odd; sinusoids come in pairs, choose an even number")
        return self

    @property
    def key_size(self) -> int:
        """d_k, whether it was given or follows."""
        return self.d_k or self.d_model // self.num_heads

    @property
    def value_size(self) -> int:
        """d_v, likewise."""
        return self.d_v or self.d_model // self.num_heads


class DataConfig(Section):
    """Section 5.1. Lengths are in subwords."""

    vocab_size: int = Field(default=37_000, ge=16, lt=2**31)  # joint, source and target together
    subwords: Literal["bpe", "unigram", "word"] = "bpe"  # word: whole words only, others are spelled in bytes
    character_coverage: float = Field(default=0.9999, ge=0.98, le=1)  # rarer characters are spelled in bytes
    max_length: int = Field(default=256, ge=1)  # longer pairs are dropped from training
    max_ratio: float = Field(default=4.0, ge=1)  # pairs where one side is so many times longer are dropped
    columns: tuple[PositiveInt, PositiveInt] = (1, 2)  # of a TSV file: source, target


class TrainingConfig(Section):
    """Section 5. `minutes` plans `steps` and a decay to zero for a wall-clock budget; without it `steps` holds."""

    steps: int = Field(default=100_000, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seed: int = Field(default=1, ge=0, lt=2**31)
    batch_tokens: int = Field(default=25_000, ge=1)  # of each side, padding included, per update
    micro_batches: int = Field(default=1, ge=1)  # an update's batch in so many parts, to save memory
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float | None = Field(default=None, gt=0)  # the peak; None: the paper's, d_model^-0.5 · warmup^-0.5
    warmup: int = Field(default=4000, ge=1)
    decay: Literal["inverse_sqrt", "linear"] = "inverse_sqrt"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    epsilon: float = Field(default=1e-9, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    matrix_learning_rate: float = Field(default=0.02, gt=0)  # Muon's peak for the matrices; Adam has the rest
    clip_norm: float | None = Field(default=None, gt=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    teacher_share: float = Field(default=0.0, ge=0, le=1)  # of the target distribution; for `distil` (word-level)
    validate_every: int = Field(default=1000, ge=1)  # steps
    bleu_sentences: int = Field(default=1000, ge=0)  # of the validation set, translated greedily
    patience: int | None = Field(default=None, ge=1)  # validations without a better BLEU before stopping
    average: int = Field(default=5, ge=1)  # snapshots averaged at the end (section 6.1)
    average_every: int = Field(default=1500, ge=1)  # steps between snapshots: 10 minutes of the paper's base
    save_minutes: float = Field(default=5.0, gt=0)  # wall clock between checkpoints; does not change the result
    log_every: int = Field(default=50, ge=1)  # steps
    device: Literal["auto", "cpu", "cuda"] = "auto"
    plain: bool = False  # every step as the paper writes it, by PyTorch: the slow twin of the fast paths
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 autocast on CUDA, fp32 elsewhere


class SearchConfig(Section):
    """Section 6.1."""

    beam_size: int = Field(default=4, ge=1)
    length_penalty: float = Field(default=0.6, ge=-10, le=10, allow_inf_nan=False)
    max_extra_length: int = Field(default=50, ge=0)  # the output may be so many subwords longer than the input
    batch_tokens: int = Field(default=4096, ge=1)  # source subwords · beam_size, padding included, searched at once


class Config(Section):
    """All settings, in sections as a recipe has them. A bundle keeps those it was trained with."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _positions_suffice(self) -> Config:
        needed = self.data.max_length + self.search.max_extra_length + 1
        if self.model.positions == "learned" and self.model.max_positions < needed:
            raise ValueError(
                f"model.max_positions = {self.model.max_positions} is less than data.max_length + "
                f"search.max_extra_length + 1 = {needed}; learned positions need one for every place"
            )
        return self

    def override(self, assignments: Iterable[str], where: str = "--set") -> Config:
        """A copy with `SECTION.NAME=VALUE` applied, values in TOML's notation. where: of a value, for the message.

        Errors: `UserError` for an unknown key (with the nearest valid one) or an impossible value.
        """
        settings = self.model_dump()
        for assignment in assignments:
            key, equals, value = assignment.partition("=")
            section, dot, name = key.strip().partition(".")
            if not (equals and dot):
                raise UserError(f"--set {assignment}: write SECTION.NAME=VALUE, for example training.seed=2.")
            _refuse_unknown(section, name, f"--set {assignment}")
            settings[section][name] = _parse_value(value.strip())
        return _validated(settings, where)


def load_recipe(recipe: str | Path) -> Config:
    """The settings of a recipe: one of `recipe_names()`, or a TOML file.

    Errors: `UserError` for an unknown recipe, broken TOML, an unknown key or an impossible value.
    """
    if str(recipe) in recipe_names():
        text = _recipes_folder().joinpath(*f"{recipe}.toml".split("/")).read_text(encoding="utf-8")
    elif Path(recipe).suffix == ".toml":
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"recipe {recipe}: cannot be read ({error}).") from error
    else:
        nearest = _nearest(str(recipe), recipe_names())
        names = ", ".join(name for name in recipe_names() if "/" not in name)
        raise UserError(
            f"there is no recipe {str(recipe)!r}{nearest} Recipes: {names}, the rows of the paper's table 3 "
            "(table3/base, ...), or a .toml file."
        )
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe {recipe}: not TOML: {error}.") from error
    return config_from(sections, f"recipe {recipe}")


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package; those of table 3's rows begin with `table3/`."""
    folder = _recipes_folder()
    places = [("", folder), ("table3/", folder / "table3")]
    files = [f"{prefix}{file.name}" for prefix, place in places for file in place.iterdir()]
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def _recipes_folder() -> Traversable:
    return resources.files("allyouneed") / "recipes"


def config_from(sections: dict[str, Any], where: str) -> Config:
    """Settings from nested dictionaries, as in TOML or JSON. Errors: `UserError` naming `where`."""
    for section, names in sections.items():
        if not isinstance(names, dict):
            raise UserError(f"{where}: {section} stands outside a section; write it below [training] or the like.")
        for name in names or [""]:
            _refuse_unknown(section, name, where)
    return _validated(sections, where)


def _validated(settings: dict[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        errors = error.errors()
        place = errors[0]["loc"]
        of_no_kind = len(place) > 2 and isinstance(place[2], str)  # of those that the setting may be of
        told = [each for each in errors if each["loc"][:2] == place[:2]] if of_no_kind else errors[:1]
        messages = [each["msg"].removeprefix("Value error, ") for each in told]
        key = ".".join(map(str, place[:2] if of_no_kind else place))
        value = f"{key} = {errors[0]['input']}: " if len(place) > 1 else ""  # else: of sizes together
        raise UserError(f"{where}: {value}{', or '.join(m[0].lower() + m[1:] for m in messages)}.") from error


def _refuse_unknown(section: str, name: str, where: str) -> None:
    sections = Config().model_dump()
    if section in sections and (name in sections[section] or not name):
        return
    known = [f"{section}.{name}" for section, names in sections.items() for name in names]
    key = f"{section}.{name}".rstrip(".")
    raise UserError(f"{where}: unknown key {key}{_nearest(key, known)}")


def _nearest(word: str, words: Iterable[str]) -> str:
    """The end of a sentence about a word that is none of these."""
    nearest = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else "."


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if "," in text:
            return tuple(_parse_value(part.strip()) for part in text.split(","))
        return None if text == "none" else text
