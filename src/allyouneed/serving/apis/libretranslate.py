"""LibreTranslate's API (https://libretranslate.com/docs). Errors are `{"error": message}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AliasChoices, Field, model_validator

from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.languages import language_name
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import UnicodeText, read_body
from allyouneed.serving.apis.form_fields import without_empty
from allyouneed.serving.apis.openapi import DirectRoute, error_responses, request_body, upload_body
from allyouneed.serving.apis.problems import document_fields, listed
from allyouneed.serving.apis.uploads import receive_upload
from allyouneed.serving.detection.detector import DetectedLanguage
from allyouneed.serving.document_jobs import file_types
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.state import AUTO, application_state
from allyouneed.translation.options import NumbersAreNotBooleans, SearchOptions

router = APIRouter(tags=["LibreTranslate"], route_class=DirectRoute)
_MIN_BEAM_SIZE = 4  # for a request with alternatives
_MAX_ALTERNATIVES = 15
_FORMATS = ("text", "html")
_FRONTEND_TIMEOUT = 500  # milliseconds from the last keystroke to the request


class KeyedRequest(NumbersAreNotBooleans):
    """A request with an API key in its body."""

    api_key: str | None = Field(
        None,
        validation_alias=AliasChoices("api_key", "apiKey"),  # the latter from the npm package `libretranslate`
        description="API key, if the server requires one.",
    )


class DetectRequest(KeyedRequest):
    """A language detection request."""

    q: UnicodeText = Field(description="The text.")


class LibreTranslateRequest(KeyedRequest):
    """A translation request."""

    q: UnicodeText | list[UnicodeText] = Field(
        description="A text, or a list of texts; in a form, the field is repeated for a list."
    )
    source: str = Field(description='Source language, or "auto".')
    target: str = Field(description="Target language.")
    format: str = Field("text", description="How to interpret the text.", json_schema_extra={"enum": list(_FORMATS)})
    alternatives: int = Field(
        0, ge=0, le=_MAX_ALTERNATIVES, description="Number of alternative translations of plain text."
    )

    @model_validator(mode="before")
    @classmethod
    def _omit_empty(cls, fields: Any) -> Any:
        return without_empty(fields, ("q", "source", "target"))


@router.post("/translate", openapi_extra=request_body(LibreTranslateRequest), responses=error_responses())
async def translate(request: Request) -> JSONResponse:
    """Translate a text or a list of texts."""
    state = application_state(request)
    body = await read_body(request, LibreTranslateRequest, repeatable=("q",), with_query=True)
    texts = [body.q] if isinstance(body.q, str) else body.q
    _check_length(texts, state.settings.characters)
    _check_languages(state.pipeline.registry, body.source, body.target)
    text_format = body.format or "text"
    if text_format not in _FORMATS:
        raise ApiError(400, f"{text_format[:20]} format is not supported")
    state.admit(request, body.api_key, texts)
    markup_format = MarkupRules() if text_format == "html" else None
    results = await state.translate(texts, body.source, body.target, _options(body.alternatives), markup_format)
    answer: dict[str, Any] = {"translatedText": [result.text for result in results]}
    if body.source.strip().lower() == AUTO:
        answer["detectedLanguage"] = [_detected_json(result.detected) for result in results]
    if body.alternatives:
        answer["alternatives"] = [result.alternatives for result in results]
    if any(result.problems for result in results):
        answer["problems"] = [listed(result.problems) for result in results]
    if isinstance(body.q, str):
        answer = {name: values[0] for name, values in answer.items()}
    return JSONResponse(answer)  # FastAPI would validate and copy a dictionary


@router.post("/detect", openapi_extra=request_body(DetectRequest), responses=error_responses())
async def detect(request: Request) -> list[dict[str, Any]]:
    """Detect the language of a text, among those that the server translates from."""
    state = application_state(request)
    body = await read_body(request, DetectRequest, with_query=True)
    _check_length([body.q], state.settings.characters)
    state.admit(request, body.api_key)
    return [_detected_json(detected) for detected in state.detector.rank(body.q)]


@router.get("/languages")
async def languages(request: Request) -> list[dict[str, Any]]:
    """List all languages and their targets; those that are only targets have none."""
    registry = application_state(request).pipeline.registry
    codes = sorted({code for pair in registry.translators for code in pair})
    return [{"code": c, "name": language_name(c), "targets": registry.targets(c)} for c in codes]


@router.post("/translate_file", openapi_extra=upload_body("source", "target", "api_key"), responses=error_responses())
async def translate_file(request: Request) -> dict[str, Any]:
    """Translate a file and return the URL of the translation."""
    state = application_state(request)
    job = await receive_upload(state, request, None)
    await state.documents.wait(job)
    address = state.url(request, f"/download_file/{job.link}")
    return {"translatedFileUrl": address, **document_fields(job.problems, job.unchanged)}


@router.post("/suggest", responses={403: {"description": "The server accepts no suggestions."}})
async def suggest(request: Request) -> Response:
    """Refuse a suggestion for a better translation, as LibreTranslate does if it is not configured to accept any."""
    raise ApiError(403, "Suggestions are disabled on this server.")


@router.get("/spec", include_in_schema=False)
async def spec(request: Request) -> JSONResponse:
    """Return the description of the API, at LibreTranslate's address."""
    return JSONResponse(request.app.openapi())


@router.get("/frontend/settings")
async def frontend_settings(request: Request) -> dict[str, Any]:
    """Return the settings that LibreTranslate's web page requires."""
    state = application_state(request)
    source, target = sorted(state.pipeline.registry.translators)[0]
    return {
        "charLimit": state.settings.characters,
        "frontendTimeout": _FRONTEND_TIMEOUT,
        "apiKeys": state.access.keys_required,
        "keyRequired": state.access.keys_required,
        "suggestions": False,
        "filesTranslation": True,
        "supportedFilesFormat": file_types(),
        "language": {
            "source": {"code": source, "name": language_name(source)},
            "target": {"code": target, "name": language_name(target)},
        },
    }


def _check_languages(registry: TranslatorRegistry, source: str, target: str) -> None:
    """Raise `ApiError` in LibreTranslate's words if a language is not served."""
    for code in (target,) if source.strip().lower() == AUTO else (source, target):
        try:
            registry.resolve(code)
        except ApiError:
            raise ApiError(400, f"{code[:20]} is not supported") from None


def _check_length(texts: list[str], limit: int) -> None:
    """Raise `ApiError` in LibreTranslate's words if texts are too long together."""
    characters = sum(map(len, texts))
    if characters > limit:
        raise ApiError(400, f"Invalid request: request ({characters}) exceeds text limit ({limit})")


def _options(alternatives: int) -> TranslationOptions:
    if not alternatives:
        return TranslationOptions()
    beam_size = max(_MIN_BEAM_SIZE, alternatives + 1)
    return TranslationOptions(SearchOptions(beam_size=beam_size, num_hypotheses=alternatives + 1))


def _detected_json(detected: DetectedLanguage | None) -> dict[str, Any]:
    if detected is None:
        raise ApiError(400, "the source language was given, so none was detected")
    return {"confidence": detected.confidence, "language": detected.language}
