"""The languages of an imported model: those that the user gives, or else those that the model names."""

from __future__ import annotations

from pathlib import Path

from allyouneed.errors import UserError
from allyouneed.languages import stored_language_code

UNKNOWN = ("und", "und")  # ISO 639's code for an undetermined language, for a description only


class UnknownLanguages(UserError):
    """A model names no languages, and the user gave none."""


def model_languages(given: tuple[str, str] | None, source: object, target: object, path: Path) -> tuple[str, str]:
    """Return the codes of the source and the target language.

    Args:
        given: Codes given by the user, which take precedence.
        source: Code in the model's own files, if it names one.
        target: Likewise.
        path: File or folder of the model, for the message.

    Raises:
        UnknownLanguages: If neither names them.
        UserError: If the model names something that is not a code.
    """
    if given:
        return given
    if not (isinstance(source, str) and isinstance(target, str) and source and target):
        raise UnknownLanguages(f"{path}: names no languages. Give them: --from CODE --to CODE.")
    try:
        return stored_language_code(source), stored_language_code(target)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
