"""Further training of a bundle: the settings that it fixes, its settings for a new run, and remarks about languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from allyouneed.bundle import Bundle
from allyouneed.config import Config, recipe_names
from allyouneed.config.descriptions import shown
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.errors import UserError
from allyouneed.languages import same_language
from allyouneed.training.request import Request, base_config, explicit_values, own_recipe_values
from allyouneed.training.resolution.size import DEFAULT_MINUTES

_VOCABULARY = (
    "subwords",
    "character_coverage",
    "separate_vocabularies",
    "symbols",
)  # settings of a tokenizer besides its size
_CHANGEABLE = ("dropout",)  # settings of a model that do not concern its weights
# Fine-tuning of a converged model: Adam, with a peak rate far below that for a new model.
_FINE_TUNING = {"learning_rate": 2e-4, "warmup": 200, "batch_tokens": 4000}


def fine_tuning_config(request: Request, start: Bundle, has_steps: bool) -> Config:
    """Return the settings for further training, without the overrides.

    The model, the vocabulary and the search are the start's. Training is that of the recipe; without a recipe, it has
    low rates, few steps, and pairs as long as those of the start.

    Args:
        request: The request, whose recipe file is taken as a whole.
        start: The bundle to train further.
        has_steps: Whether a number of steps is given instead of minutes.
    """
    base, data = base_config(request), start.config.data
    if request.recipe is None:
        base = base.replace(
            training=_FINE_TUNING | ({} if has_steps else {"minutes": DEFAULT_MINUTES}),
            data={"max_length": data.max_length, "max_ratio": data.max_ratio},
        )
    own = own_recipe_values(request)
    search = start.config.search.model_dump() | _of_section(own, "search")
    longest = _longest_pair(start, search["max_extra_length"])
    return base.replace(
        model=start.config.model.model_dump()
        | {name: own[f"model.{name}"] for name in _CHANGEABLE if f"model.{name}" in own},
        data={
            "vocab_size": len(start.tokenizer),
            "max_length": base.data.max_length if longest is None else min(base.data.max_length, longest),
            **{name: getattr(data, name) for name in _VOCABULARY},
        },
        search=search,
    )


def changeable_settings(request: Request, origin: Bundle) -> list[str]:
    """Return the overrides of a request without those that repeat what the start or the teacher fixes.

    A start fixes its model, except dropout, and its vocabulary; a teacher fixes the vocabulary.

    Args:
        request: The request.
        origin: The bundle of `request.start_from` or of the first of `request.teachers`.

    Returns:
        Overrides `SECTION.NAME=VALUE`.

    Raises:
        UserError: If a setting of the command or of the user's recipe file has another value.
    """
    path, recipe = request.start_from or request.teachers[0], own_recipe_values(request)
    remedy = "train a new model without --start-from" if request.start_from else "train without a teacher"
    fixed = _fixed_values(origin, whole=request.start_from is not None)
    for key, value in explicit_values(request).items():
        where = f"recipe {request.recipe}: " if recipe.get(key) == value else ""
        if key in fixed and value not in fixed[key]:
            what, known = "model" if key.startswith("model.") else "vocabulary", fixed[key]
            has = f"{path} has {shown(known[0])}" if known else f"{path} has a vocabulary of its own"
            raise UserError(
                f"{where}{key} = {shown(value)}, but {has}, and its {what} is kept. Remove the setting, or {remedy}."
            )
    extra = explicit_values(request).get("search.max_extra_length", origin.config.search.max_extra_length)
    given = explicit_values(request).get("data.max_length")
    longest = _longest_pair(origin, extra) if request.start_from and isinstance(extra, int) else None
    if longest is not None and isinstance(given, int) and given > longest:
        raise UserError(
            f"data.max_length = {given}, but {path} has {origin.config.model.max_positions} learned positions: at most "
            f"{longest}, with search.max_extra_length = {extra}. Lower one of them."
        )
    return [setting for setting in request.settings if setting.partition("=")[0].strip() not in fixed]


def remarks(request: Request, start: Bundle) -> Iterator[str]:
    """Yield remarks about a new run: what is taken from the package's recipe, and languages other than the start's."""
    if request.recipe in recipe_names():
        yield f"recipe {request.recipe}: model, vocabulary and search are those of {request.start_from}, the rest holds"
    known = start.languages
    if all(map(same_language, known, request.languages)):
        return
    directions = " → ".join(known), " → ".join(request.languages)
    yield f"remark: {request.start_from} translates {directions[0]}, this run trains {directions[1]}"
    if foreign := [code for code in request.languages if not any(same_language(code, other) for other in known)]:
        yield (
            f"remark: {request.start_from} was not trained on {' and '.join(foreign)}; its vocabulary is kept, and "
            "text that it does not cover is divided into many tokens"
        )


def _fixed_values(origin: Bundle, whole: bool) -> dict[str, tuple[Any, ...]]:
    """Return the accepted values by `SECTION.NAME`, first the one to show; none for those of imported vocabularies."""
    config, is_own = origin.config, isinstance(origin.tokenizer, Tokenizer)
    fixed: dict[str, tuple[Any, ...]] = {"data.vocab_size": (len(origin.tokenizer), config.data.vocab_size)}
    fixed |= {f"data.{name}": (getattr(config.data, name),) if is_own else () for name in _VOCABULARY}
    if is_own:
        symbols = config.data.symbols
        fixed["data.symbols"] = (symbols, list(symbols), ",".join(symbols))  # as a recipe or --set may write them
    if whole:
        model = config.model
        fixed |= {f"model.{name}": (value,) for name, value in model.model_dump().items() if name not in _CHANGEABLE}
        fixed |= {"model.d_k": (model.key_size, model.d_k), "model.d_v": (model.value_size, model.d_v)}
        fixed |= {"model.decoder_d_ff": (model.decoder.d_ff, model.decoder_d_ff)}
        fixed |= {"model.decoder_heads": (model.decoder.heads, model.decoder_heads)}
    return fixed


def _longest_pair(start: Bundle, extra: int) -> int | None:
    """Return the largest `data.max_length` for which the start has learned positions; None for sinusoids."""
    model = start.config.model
    return model.max_positions - extra - 1 if model.positions == "learned" else None


def _of_section(values: dict[str, Any], section: str) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{section}.")}
