"""DeepL's API, version 2 (https://developers.deepl.com). Errors are `{"message": message}`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, BeforeValidator, Field

from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.languages import language_name
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import TOO_LARGE, UnicodeText, check_length, read_body
from allyouneed.serving.deepl_glossaries import chosen_glossary, finders_with, glossary_identifiers, reject_formality
from allyouneed.serving.document_jobs import DocumentJob
from allyouneed.serving.openapi import DirectRoute, error_responses, request_body, upload_body
from allyouneed.serving.state import AUTO, ApplicationState, application_state, bearer_token
from allyouneed.serving.uploads import DOWNLOAD_HEADERS, DOWNLOAD_TYPE, receive_upload

router = APIRouter(prefix="/v2", tags=["DeepL"], route_class=DirectRoute)
_UNLIMITED = 1_000_000_000_000  # the limit that DeepL's API reports for unlimited accounts


def _split_tags(value: Any) -> Any:
    """Accept a list or comma-separated text; anything else is left for pydantic to reject."""
    parts = [value] if isinstance(value, str) else value or []
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [tag for part in parts for tag in part.split(",")]


Tags = Annotated[list[str], BeforeValidator(_split_tags)]
Texts = Annotated[list[UnicodeText], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class DeepLTranslateRequest(BaseModel):
    """A translation request."""

    text: Texts = Field(description="One or more texts.")
    target_lang: str = Field(description="Target language.")
    source_lang: str | None = Field(None, description="Source language (default: detected).")
    split_sentences: Literal["0", "1", "nonewlines"] | int | None = Field(
        None, description="0 to translate each text as one sentence."
    )
    preserve_formatting: Any = Field(None, description="Accepted without effect.")
    formality: str | None = Field(None, description="Only the default and the prefer_ values are accepted.")
    tag_handling: Literal["xml", "html"] | None = Field(None, description="How to parse tags (default: plain text).")
    ignore_tags: Tags = Field([], description="Tags whose content is not translated.")
    splitting_tags: Tags = Field([], description="XML tags that separate sentences.")
    non_splitting_tags: Tags = Field([], description="XML tags that are within sentences.")
    outline_detection: bool = Field(True, description="Whether XML tags that are not beside text separate sentences.")
    glossary_id: str | None = Field(None, description="Id of a glossary; requires source_lang.")
    glossary_ids: list[str] | str | None = Field(None, description="Ids of glossaries; the first with a term decides.")
    show_billed_characters: bool = Field(False, description="Whether to return the number of characters.")


class DeepLDocumentRequest(BaseModel):
    """Access to an uploaded document."""

    document_key: str = Field(description="The key that was returned for the upload.")


@router.post("/translate", openapi_extra=request_body(DeepLTranslateRequest), responses=error_responses())
async def translate(request: Request) -> JSONResponse:
    """Translate texts."""
    state = application_state(request)
    body = await read_body(
        request,
        DeepLTranslateRequest,
        lists=("text", "ignore_tags", "splitting_tags", "non_splitting_tags", "glossary_ids"),
    )
    reject_formality(body.formality)
    check_length(sum(map(len, body.text)), state.settings.characters, TOO_LARGE)
    key = state.admit(request, bearer_token(request), body.text)
    identifiers = glossary_identifiers(body.glossary_id, body.glossary_ids)
    glossary = await chosen_glossary(state, key, identifiers, body.source_lang, body.target_lang)
    markup_format = None
    if body.tag_handling:
        markup_format = MarkupRules(
            body.tag_handling == "xml",
            ignored=_normalize_tags(body.ignore_tags),
            splitting=_normalize_tags(body.splitting_tags),
            inline=_normalize_tags(body.non_splitting_tags),
            outline=body.outline_detection,
        )
    source, split = body.source_lang or AUTO, str(body.split_sentences) != "0"
    results = await state.translate(
        body.text,
        source,
        body.target_lang,
        markup_format=markup_format,
        split=split,
        finders=finders_with(glossary),
    )
    translations = []
    for text, result in zip(body.text, results, strict=True):
        language = result.detected.language if result.detected else state.pipeline.registry.resolve(source)
        billed = {"billed_characters": len(text)} if body.show_billed_characters else {}
        translations.append({"detected_source_language": language.upper(), "text": result.text, **billed})
    return JSONResponse({"translations": translations})


@router.get("/languages", responses=error_responses())
async def languages(request: Request, type: Literal["source", "target"] | None = None) -> list[dict[str, Any]]:
    """List source or target languages; DeepL's client sends `type` as a form in the body of the GET."""
    state = application_state(request)
    state.admit(request, bearer_token(request))
    registry = state.pipeline.registry
    side = type or (await request.form(max_files=0, max_fields=10)).get("type") or "source"
    targets = {target for source in registry.sources for target in registry.targets(source)}
    codes = registry.sources if side == "source" else sorted(targets)
    return [{"language": code.upper(), "name": language_name(code), "supports_formality": False} for code in codes]


@router.get("/usage", responses=error_responses())
async def usage(request: Request) -> dict[str, int]:
    """Return the characters used in the current month, and the limit."""
    state = application_state(request)
    key = state.admit(request, bearer_token(request))
    if key is None:
        return {"character_count": 0, "character_limit": _UNLIMITED}
    return {
        "character_count": state.access.characters_used(key),
        "character_limit": key.characters or _UNLIMITED,
    }


@router.post(
    "/document",
    openapi_extra=upload_body(
        "source_lang",
        "target_lang",
        "filename",
        "glossary_id",
        "glossary_ids",
        "formality",
        "output_format",
        required=("target_lang",),
    ),
    responses=error_responses(),
)
async def upload_document(request: Request) -> dict[str, str]:
    """Start to translate a file."""
    fields = ("source_lang", "target_lang")
    job = await receive_upload(application_state(request), request, bearer_token(request), fields)
    return {"document_id": job.id, "document_key": job.key}


@router.post("/document/{identifier}", openapi_extra=request_body(DeepLDocumentRequest), responses=error_responses(404))
async def document_status(request: Request, identifier: str) -> dict[str, Any]:
    """Return the state of a document."""
    job = await _find_job(application_state(request), request, identifier)
    status: dict[str, Any] = {"document_id": job.id, "status": job.status}
    if job.status == "translating":
        status["seconds_remaining"] = job.seconds_remaining
    elif job.status == "done":
        status["billed_characters"] = job.characters
    elif job.error:
        status["error_message"] = job.error.message
    return status


@router.post(
    "/document/{identifier}/result", openapi_extra=request_body(DeepLDocumentRequest), responses=error_responses(404)
)
async def document_result(request: Request, identifier: str) -> Response:
    """Return a translated document once; like DeepL, the server deletes it afterwards."""
    state = application_state(request)
    job = await _find_job(state, request, identifier)
    if job.status != "done":
        raise ApiError(503, "the document is not translated yet", 1)
    data = await asyncio.to_thread(state.documents.path(job).read_bytes)
    state.documents.delete(job)
    return Response(data, media_type=DOWNLOAD_TYPE, headers=DOWNLOAD_HEADERS)


async def _find_job(state: ApplicationState, request: Request, identifier: str) -> DocumentJob:
    body = await read_body(request, DeepLDocumentRequest)
    state.authenticate(request)
    return state.documents.find(identifier, body.document_key)


def _normalize_tags(tags: list[str]) -> frozenset[str]:
    return frozenset(tag.strip().lower() for tag in tags)
