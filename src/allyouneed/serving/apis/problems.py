"""What could not be guaranteed in a translation, in answers of all APIs.

LibreTranslate and DeepL have no field for it, and their clients ignore fields that they do not know. Where there is
nothing to report, the fields are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allyouneed.documents.document_translation import Remark

_MOST_LISTED = 100  # of a text or a document


def listed(problems: Sequence[str]) -> list[str]:
    """Return the problems of a text that are listed."""
    return list(problems[:_MOST_LISTED])


def listed_remarks(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    """Return the problems of a document that are listed, with their positions."""
    return [{"where": each.where, "message": each.message} for each in remarks[:_MOST_LISTED]]


def text_fields(problems: Sequence[str]) -> dict[str, Any]:
    """Return the field `problems` of a text's translation."""
    return {"problems": listed(problems)} if problems else {}


def document_fields(problems: Sequence[Remark], unchanged: int) -> dict[str, Any]:
    """Return the fields of a document's translation: `problems`, and the number of `unchanged` sentences."""
    fields: dict[str, Any] = {"problems": listed_remarks(problems)} if problems else {}
    return {**fields, "unchanged": unchanged} if unchanged else fields
