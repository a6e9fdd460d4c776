"""The native API's translation request, derived from `SearchOptions`: a new search option needs no change here."""

from __future__ import annotations

from copy import copy
from typing import Any, Literal, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import ConfigDict, Field, create_model, field_validator
from pydantic.fields import FieldInfo

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import UnicodeText, check_unicode
from allyouneed.serving.apis.deepl_glossaries import MOST_AT_ONCE
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.state import AUTO
from allyouneed.translation.options import NumbersAreNotBooleans, SearchOptions, option_of

# Stricter than the limits in Python for options whose extreme values would occupy a model thread for a long time or
# make logits infinite.
_SERVER_LIMITS: dict[str, Ge | Le | MaxLen] = {
    "beam_size": Le(16),
    "num_hypotheses": Le(16),
    "num_beam_groups": Le(16),
    "diversity_penalty": Le(100),
    "coverage_penalty": Le(100),
    "max_decoding_length": Le(1000),
    "max_extra_length": Le(500),
    "min_decoding_length": Le(500),
    "repetition_penalty": Ge(0.01),
    "suppress_sequences": MaxLen(100),
}
_SEARCH_FIELDS = [name for name in SearchOptions.model_fields if option_of(name).group != "Speed"]  # set by the server
REPEATABLE_FIELDS = (
    "q",
    "force_words",
    "glossary_ids",
    *(name for name in _SEARCH_FIELDS if get_origin(SearchOptions.model_fields[name].annotation) is tuple),
)


_PLAIN_TEXT_ONLY = ("target_prefix", "force_words", "words")


class TranslateFields(NumbersAreNotBooleans):
    """A translation request; omitted search options default to the model's settings."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    q: UnicodeText | list[UnicodeText] = Field(description="A text, or a list of texts.")
    source: str = Field(AUTO, description='Source language, or "auto".')
    target: str = Field(description="Target language.")
    format: Literal["text", "html"] = Field("text", description="How to interpret the text.")
    words: bool = Field(False, description="Whether to return word scores, word positions and word alignment.")
    target_prefix: UnicodeText = Field(
        "", max_length=1000, description="Text that the translation begins with; each text is then one sentence."
    )
    force_words: list[UnicodeText] = Field(
        [], max_length=16, description="Text that the translation must contain; each text is then one sentence."
    )

    glossary_ids: list[str] = Field(
        [], max_length=MOST_AT_ONCE, description="Ids of glossaries; the first with a term decides. Requires `source`."
    )

    @field_validator("*")
    @classmethod
    def _check_unicode(cls, value: Any) -> Any:
        for text in value if isinstance(value, tuple) else ():
            check_unicode(text)
        return value

    def refuse_with_markup(self) -> None:
        """Raise `ApiError` if fields are given that translations of markup do not honour."""
        given = [name for name in _PLAIN_TEXT_ONLY if getattr(self, name)]
        given += ["num_hypotheses"] if (getattr(self, "num_hypotheses", 1) or 1) > 1 else []
        if self.format == "html" and given:
            raise ApiError(400, f"{', '.join(given)}: not available with format=html; send plain text")

    def options(self) -> TranslationOptions:
        """Return the options for the model threads.

        Raises:
            UserError: If search options conflict with each other.
        """
        search = {name: getattr(self, name) for name in _SEARCH_FIELDS if name in self.model_fields_set}
        options = SearchOptions.from_values(search)
        return TranslationOptions(options, self.target_prefix, tuple(self.force_words), self.words)


def _limited(name: str) -> FieldInfo:
    """Return the field of a search option, with the server's limit instead of its own."""
    field = copy(SearchOptions.model_fields[name])
    if limit := _SERVER_LIMITS.get(name):
        replaced = Ge | Gt if isinstance(limit, Ge) else Le | Lt | MaxLen
        field.metadata = [*(bound for bound in field.metadata if not isinstance(bound, replaced)), limit]
    return field


_fields: dict[str, Any] = {
    name: (SearchOptions.model_fields[name].annotation, _limited(name)) for name in _SEARCH_FIELDS
}
TranslateRequest = create_model(
    "TranslateRequest", __base__=TranslateFields, __doc__=TranslateFields.__doc__, **_fields
)
