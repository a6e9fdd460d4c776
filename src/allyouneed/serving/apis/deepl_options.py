"""Options of DeepL's text and document requests: those that would change the result are honoured or refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from starlette.requests import Request

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.form_fields import without_empty
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.state import AUTO, bearer_token
from allyouneed.translation.options import NumbersAreNotBooleans

_VARIETIES = {"more": "formal", "prefer_more": "formal", "less": "informal", "prefer_less": "informal"}
FormalityOption = Annotated[
    Literal["default", "more", "less", "prefer_more", "prefer_less"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


class KeyRequest(NumbersAreNotBooleans):
    """A request whose body may have the API key."""

    auth_key: str | None = Field(None, description="API key, if it is not in the header Authorization.")


class DeepLOptions(KeyRequest):
    """Fields of a request for a translation. Unknown fields are ignored, as DeepL does."""

    target_lang: str = Field(description="Target language.")
    source_lang: str | None = Field(None, description="Source language (default: detected).")
    formality: FormalityOption = Field("default", description="Formality, for languages that are served with it.")
    glossary_id: str | None = Field(None, description="Id of a glossary; requires source_lang.")
    glossary_ids: list[str] | str | None = Field(None, description="Ids of glossaries; the first with a term decides.")
    style_id: str | None = Field(None, description="Not supported.")
    translation_memory_id: str | None = Field(None, description="Not supported.")
    translation_memory_threshold: int | None = Field(None, ge=0, le=100, description="Not supported.")
    custom_instructions: Any = Field(None, description="Not supported.")
    enable_beta_languages: Any = Field(None, description="Without effect, as in DeepL's API.")

    @model_validator(mode="before")
    @classmethod
    def _omit_empty(cls, fields: Any) -> Any:
        """Treat an empty field, as forms send it, as omitted."""
        return without_empty(fields, ("text", "target_lang"))

    @field_validator("source_lang")
    @classmethod
    def _detect(cls, value: str | None) -> str | None:
        return None if value is None or value.strip().lower() in ("", AUTO) else value

    @field_validator("style_id", "translation_memory_id", "translation_memory_threshold", "custom_instructions")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        if value or value == 0:
            raise ValueError("not supported by this server; leave it out")
        return value


def sent_key(request: Request, field: str | None = None) -> str | None:
    """Return the API key of a request: in the header, in the body (`field`) or as `auth_key` in the query string."""
    return bearer_token(request) or field or request.query_params.get("auth_key")


def check_languages(registry: TranslatorRegistry, source: str | None, target: str) -> None:
    """Raise `ApiError` in DeepL's words if a language is not served; `source` is None if it is detected."""
    for name, code in (("target_lang", target), ("source_lang", target if source is None else source)):
        try:
            registry.resolve(code)
        except ApiError:
            message = f"Value for '{name}' not supported: GET /v2/languages lists the languages of this server"
            raise ApiError(400, message) from None


def with_formality(registry: TranslatorRegistry, target: str, formality: str) -> str:
    """Return the served target language with a formality.

    A formal and an informal variety of a language are served as separate targets with private subtags, for example
    `de-x-formal` and `de-x-informal`.

    Args:
        registry: The served translators.
        target: Target language of the request.
        formality: "default", "more", "less", "prefer_more" or "prefer_less".

    Raises:
        ApiError: 400 if the language is not served with the formality, unless it is only preferred.
    """
    code = registry.resolve(target)
    variety = formality_code(code, _VARIETIES[formality]) if formality in _VARIETIES else code
    if any(variety == served for _, served in registry.translators):
        return variety
    if formality.startswith("prefer_"):
        return code
    raise ApiError(400, f"Target language '{target[:20]}' doesn't support formality; use prefer_more or prefer_less")


def supports_formality(registry: TranslatorRegistry, code: str) -> bool:
    """Return whether a target language is served with both formalities."""
    served = {target for _, target in registry.translators}
    return {formality_code(code, variety) for variety in _VARIETIES.values()} <= served


def is_formality_code(code: str) -> bool:
    """Return whether a code is a formal or informal variety of a language."""
    return code.endswith(tuple(formality_code("", variety) for variety in _VARIETIES.values()))


def formality_code(code: str, variety: str) -> str:
    """Return the code of a language's variety "formal" or "informal"."""
    return f"{code}-x-{variety}"
