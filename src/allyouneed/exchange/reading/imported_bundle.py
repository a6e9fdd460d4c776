"""The last steps that imports from different systems share: checks of settings, and the bundle."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from allyouneed.bundle import Bundle, build_model, load_weights
from allyouneed.config import Config, config_from
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.exchange.reading.licence import find_licence
from allyouneed.exchange.reading.named_layers import Converted
from allyouneed.files import sha256

_LEAST_VOCABULARY = 16  # of the setting data.vocab_size, which training a new vocabulary reads
_LONGEST_SOURCE = 512  # tokens; longer sentences are divided


def check_settings(path: Path, settings: Mapping[str, Any], supported: Mapping[str, Collection[object]]) -> None:
    """Refuse settings of another system that a `Transformer` cannot follow.

    Args:
        path: The file of the settings, for messages.
        settings: The settings by name; one that is missing has the other system's default.
        supported: Values of each setting that can be imported.

    Raises:
        UserError: If a setting has another value.
    """
    for name, values in supported.items():
        if name in settings and settings[name] not in values:
            known = ", ".join(str(value) for value in values)
            raise UserError(
                f"{path}: {name} = {str(settings[name])[:80]} is not supported, only {known}. The model cannot be "
                "imported."
            )


def make_bundle(
    path: Path,
    system: str,
    files: Sequence[Path],
    converted: Converted,
    tokenizer: AnyTokenizer,
    languages: tuple[str, str],
    search: Mapping[str, Any] | None = None,
) -> Bundle:
    """Make the bundle of an imported model.

    Args:
        path: The file of the weights.
        system: Name of the system that the model comes from.
        files: All files that were read, for the record.
        converted: Settings and parameters.
        tokenizer: Tokenizer of both sides.
        languages: Codes of source and target.
        search: Settings of search that the model comes with.

    Raises:
        UserError: If a setting is out of bounds, or a parameter has another shape than its model.
    """
    lengths = length_settings(path, converted.settings, len(tokenizer))
    lengths["search"] |= search or {}
    config = config_from({"model": converted.settings, **lengths}, str(path))
    model = build_model(config.model, tokenizer)
    load_weights(model, converted.parameters, path)
    return Bundle(
        model.eval(), tokenizer, config, languages, longest_source(config), notes=_origin(path, system, files)
    )


def length_settings(path: Path, settings: Mapping[str, Any], vocab_size: int) -> dict[str, dict[str, Any]]:
    """Return the sections "data" and "search", with lengths for which there are enough learned positions.

    Args:
        path: The file of the weights, for messages.
        settings: Settings of the model.
        vocab_size: Tokens of the source vocabulary.

    Raises:
        UserError: If there are too few positions to translate.
    """
    usual = Config()
    positions = settings.get("max_positions", usual.data.max_length + usual.search.max_extra_length + 1)
    extra = min(usual.search.max_extra_length, positions // 3)
    if extra < 1:
        raise UserError(f"{path}: has only {positions} positions, too few to translate.")
    return {
        "data": {
            "vocab_size": max(_LEAST_VOCABULARY, vocab_size),
            "max_length": min(usual.data.max_length, positions - extra - 1),
        },
        "search": {"max_extra_length": extra},
    }


def longest_source(config: Config) -> int:
    """Return the number of tokens from which an imported model's sources are divided."""
    return min(_LONGEST_SOURCE, config.model.learned_positions or _LONGEST_SOURCE)


def _origin(path: Path, system: str, files: Sequence[Path]) -> dict[str, Any]:
    licence = find_licence(path)
    return {
        "imported from": f"{system}: {path.resolve().parent.name}/{path.name}",
        "SHA-256": {file.name: sha256(file) for file in files},
        **({"licence": licence} if licence else {}),
    }
