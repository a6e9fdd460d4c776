"""Translation directions of multilingual models, and the code in front of a source that names the target language.

The code is `>>fr<<`, as in Marian's multilingual models (Tiedemann and Thottingal 2020): a source begins with it, and
it is one token (Johnson et al. 2017, "Google's Multilingual Neural Machine Translation System").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from allyouneed.errors import UserError
from allyouneed.languages import language_code

Direction: TypeAlias = tuple[str, str]  # codes of source and target language
CODE = re.compile(r">>(\S+?)<<")


def code_of(language: str) -> str:
    """Return the code of a target language, for example `>>fr<<`."""
    return f">>{language}<<"


def parse_directions(text: str | Iterable[str | Sequence[str]]) -> list[Direction]:
    """Return directions in canonical codes.

    Args:
        text: Text such as "de-en,fr-en", or a list of such texts or of pairs.

    Raises:
        UserError: If a direction is not two languages, or a language is unknown.
    """
    listed = text.split(",") if isinstance(text, str) else text
    return [_direction(each) for each in listed]


def _direction(given: str | Sequence[str]) -> Direction:
    languages = re.split(":" if ":" in given else "-", given) if isinstance(given, str) else list(given)
    if len(languages) != 2 or not all(isinstance(each, str) and each.strip() for each in languages):
        raise UserError(
            f"direction {given!r}: not two languages. Give two languages, for example de-en, or pt-BR:en if a code "
            "has a hyphen."
        )
    return language_code(languages[0]), language_code(languages[1])


def shown(direction: Direction) -> str:
    """Format a direction, for example `de→en`."""
    return "→".join(direction)


def targets_of(directions: Iterable[Direction]) -> list[str]:
    """Return the target languages of directions, each once, in their order."""
    return list(dict.fromkeys(target for _, target in directions))
