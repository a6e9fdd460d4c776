"""Languages that documents declare, compared with those of the translation."""

from __future__ import annotations

from functools import lru_cache

from babel import Locale, UnknownLocaleError

from allyouneed.errors import UserError
from allyouneed.languages import describe_language, primary

_UNKNOWN = ("", "und", "mul", "zxx")
_CATEGORIES = ("zero", "one", "two", "few", "many", "other")


@lru_cache(10_000)
def is_language(declared: str, language: str) -> bool:
    """Return whether a declared code, in any spelling, is of a language; regions and scripts are not compared."""
    if declared in _UNKNOWN or language in _UNKNOWN:
        return False
    return primary(_tag(declared)) == primary(language)


def check_language(declared: str, target: str, name: str) -> None:
    """Check that a bilingual document is of the language that is translated into.

    Raises:
        UserError: If the document's target language is another one.
    """
    if declared in _UNKNOWN or target in _UNKNOWN or is_language(declared, target):
        return
    raise UserError(
        f"{name}: its translations are in {describe_language(_tag(declared))}, and the model translates into "
        f"{describe_language(target)}. Use a model for its language, or change the language in the file."
    )


def _tag(declared: str) -> str:
    """A BCP 47 tag for a POSIX locale such as sr_RS@latin."""
    return declared.partition("@")[0].partition(".")[0].replace("_", "-")


def plural_categories(language: str) -> tuple[str, ...]:
    """Return CLDR's categories of plural forms in a language, such as ("one", "other"), in CLDR's order.

    A language that CLDR does not know has the categories of English.
    """
    try:
        rules = Locale.parse(language, sep="-").plural_form
    except (UnknownLocaleError, ValueError):
        return ("one", "other")
    return tuple(category for category in _CATEGORIES if category in rules.tags or category == "other")
