"""Settings that follow from the vocabulary of a run: its size, and which embeddings are shared."""

from __future__ import annotations

from collections.abc import Collection

from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.config.descriptions import shown
from allyouneed.data.directions import code_of, targets_of
from allyouneed.data.tokens.own_tokenizer import load_own_tokenizer
from allyouneed.data.tokens.subword_sampling import check_can_sample
from allyouneed.data.tokens.tokenizer import Tokenizer
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.training.request import Request

_LEARNED = ("subwords", "character_coverage", "separate_vocabularies")  # data settings of a new tokenizer


def existing_tokenizer(request: Request, config: Config, origin: Bundle | None) -> AnyTokenizer | None:
    """Return the tokenizer that the user brings, or that of another bundle; None if it must be trained.

    Args:
        request: The request.
        config: The settings of the run, of which `data.symbols` are added to the user's tokenizer.
        origin: Bundle of the start or the teacher.

    Raises:
        UserError: If the user brings a tokenizer although the bundle has one, or its file is invalid.
    """
    if request.tokenizer and origin:
        raise UserError(
            "--tokenizer: a model that is trained further, or imitates a teacher, already has one. Remove the option."
        )
    if request.tokenizer:
        codes = map(code_of, targets_of(request.directions))
        return load_own_tokenizer(request.tokenizer, list(dict.fromkeys([*config.data.symbols, *codes])))
    return origin.tokenizer if origin else None


def of_own_tokenizer(config: Config, tokenizer: Tokenizer, explicit: Collection[str]) -> Config:
    """Return the settings for a tokenizer that the user brings.

    Args:
        config: The settings of the run.
        tokenizer: The tokenizer.
        explicit: Settings that the user gave, see `request.explicit_settings`.

    Raises:
        UserError: If the user gave a setting that contradicts the tokenizer.
    """
    values = {
        "vocab_size": len(tokenizer),
        "subwords": tokenizer.content.algorithm,
        "separate_vocabularies": not tokenizer.shared,
    }
    given = config.data.model_dump()
    for name in ("vocab_size", *_LEARNED):
        if f"data.{name}" in explicit and given[name] != values.get(name):
            fact = f"it has {shown(values[name])}" if name in values else "it is already trained"
            raise UserError(
                f"data.{name} = {shown(given[name])}, but --tokenizer is given: {fact}. Remove the setting."
            )
    return config.replace(data=values)


def settle_vocabulary(config: Config, tokenizer: AnyTokenizer | None, explicit: Collection[str]) -> Config:
    """Return the settings with embeddings that fit the vocabularies.

    Args:
        config: The settings of the run.
        tokenizer: The tokenizer of the run; None if it is yet to be trained.
        explicit: Settings that the user gave, see `request.explicit_settings`.

    Raises:
        UserError: If the user gave settings that contradict each other.
    """
    data = config.data
    if data.symbols and data.subwords == "word":
        raise UserError(
            "data.symbols needs a tokenizer that can divide a text anywhere. With data.subwords=word, a symbol that is "
            "written as a separate word is one token anyway. Remove one of the two settings."
        )
    if data.subword_sampling:
        check_can_sample(tokenizer.target if tokenizer else data.subwords)
        if config.training.teacher_share:
            raise UserError(
                "data.subword_sampling and training.teacher_share exclude each other: the teacher was trained on "
                "another segmentation of the text. Set training.teacher_share=0, or remove data.subword_sampling."
            )
    separate = data.separate_vocabularies if tokenizer is None else not tokenizer.shared
    if separate and config.model.tie_embeddings in (True, "inputs"):
        if "model.tie_embeddings" in explicit:
            value = str(config.model.tie_embeddings).lower()
            raise UserError(
                f"model.tie_embeddings = {value} shares the embeddings of source and target, which have separate "
                'vocabularies. Set it to "target" or false, or remove the setting.'
            )
        return config.replace(model={"tie_embeddings": "target"})
    return config
