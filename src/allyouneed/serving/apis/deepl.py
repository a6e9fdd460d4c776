"""DeepL's API, version 2 (https://developers.deepl.com). Errors are `{"message": message}`."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BeforeValidator, Field

from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.serving.access.api_keys import owner_of
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import TOO_LARGE, UnicodeText, check_length, read_body, validate
from allyouneed.serving.apis.deepl_glossaries import chosen_glossary, finders_with, glossary_identifiers
from allyouneed.serving.apis.deepl_options import DeepLOptions, KeyRequest, check_languages, sent_key, with_formality
from allyouneed.serving.apis.formatting import SentencePair, format_sentence, preserve_formatting
from allyouneed.serving.apis.openapi import DirectRoute, error_responses, request_body, upload_body
from allyouneed.serving.apis.problems import document_fields, text_fields
from allyouneed.serving.apis.uploads import DOWNLOAD_HEADERS, DOWNLOAD_TYPE, attachment, receive_file, start_translation
from allyouneed.serving.document_jobs import DocumentJob
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.state import AUTO, ApplicationState, application_state
from allyouneed.translation.options import SearchOptions

router = APIRouter(prefix="/v2", tags=["DeepL"], route_class=DirectRoute)
_UNLIMITED = 1_000_000_000_000  # the limit that DeepL's API reports for unlimited accounts
_LATENCY, _QUALITY = "latency_optimized", "quality_optimized"
_LISTS = ("text", "ignore_tags", "splitting_tags", "non_splitting_tags", "glossary_ids", "custom_instructions")
_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")


def _split_tags(value: Any) -> Any:
    """Accept a list or comma-separated text; anything else is left for pydantic to reject."""
    parts = [value] if isinstance(value, str) else value or []
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [tag.strip() for part in parts for tag in part.split(",") if tag.strip()]


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Tags = Annotated[list[str], BeforeValidator(_split_tags)]
Texts = Annotated[list[UnicodeText], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
Splitting = Annotated[Literal["0", "1", "nonewlines"], BeforeValidator(_number_as_text)]


class DeepLTranslateRequest(DeepLOptions):
    """A translation request."""

    text: Texts = Field(min_length=1, description="One or more texts.")
    context: UnicodeText | None = Field(
        None, description="Accepted without effect: a sentence is translated by itself."
    )
    split_sentences: Splitting | None = Field(
        None, description="0: each text is one sentence. nonewlines: line breaks do not end a sentence."
    )
    preserve_formatting: bool = Field(False, description="Whether to keep initial case and final punctuation.")
    model_type: Literal["quality_optimized", "prefer_quality_optimized", "latency_optimized"] | None = Field(
        None, description="latency_optimized searches greedily."
    )
    tag_handling: Literal["xml", "html"] | None = Field(None, description="How to parse tags (default: plain text).")
    tag_handling_version: Literal["v1", "v2"] = Field("v2", description="Accepted; there is one algorithm.")
    ignore_tags: Tags = Field([], description="Tags whose content is not translated.")
    splitting_tags: Tags = Field([], description="XML tags that separate sentences.")
    non_splitting_tags: Tags = Field([], description="XML tags that are within sentences.")
    outline_detection: bool = Field(True, description="Whether XML tags that are not beside text separate sentences.")
    show_billed_characters: bool = Field(False, description="Whether to return the number of characters.")

    def markup_rules(self) -> MarkupRules | None:
        """Return how tags are parsed, or None for plain text."""
        if not self.tag_handling:
            return None
        return MarkupRules(
            self.tag_handling == "xml",
            ignored=_lowered(self.ignore_tags),
            splitting=_lowered(self.splitting_tags),
            inline=_lowered(self.non_splitting_tags),
            outline=self.outline_detection,
        )

    def search_options(self) -> TranslationOptions:
        """Return the search options for the type of model."""
        return TranslationOptions(SearchOptions(beam_size=1)) if self.model_type == _LATENCY else TranslationOptions()

    def details(self, text: str) -> dict[str, Any]:
        """Return the fields of a translation that depend on the options alone."""
        found: dict[str, Any] = {}
        if self.show_billed_characters:
            found["billed_characters"] = len(text)
        if self.model_type:
            found["model_type_used"] = _LATENCY if self.model_type == _LATENCY else _QUALITY
        if self.tag_handling:
            found["tag_handling_version"] = self.tag_handling_version
        return found


class DeepLUpload(DeepLOptions):
    """The fields of an upload form, besides the file and its name."""

    output_format: str | None = Field(
        None, description="Suffix of the translation; only that of the file is supported."
    )


class DeepLDocumentRequest(KeyRequest):
    """Access to an uploaded document."""

    document_key: str = Field(description="The key that was returned for the upload.")


@router.post("/translate", openapi_extra=request_body(DeepLTranslateRequest), responses=error_responses(404))
async def translate(request: Request) -> JSONResponse:
    """Translate texts."""
    state = application_state(request)
    registry = state.pipeline.registry
    body = await read_body(request, DeepLTranslateRequest, lists=_LISTS, with_query=True)
    check_languages(registry, body.source_lang, body.target_lang)
    target = with_formality(registry, body.target_lang, body.formality)
    check_length(sum(map(len, body.text)), state.settings.characters, TOO_LARGE)
    key = state.admit(request, sent_key(request, body.auth_key), body.text)
    identifiers = glossary_identifiers(body.glossary_id, body.glossary_ids)
    glossary = await chosen_glossary(state, key, identifiers, body.source_lang, body.target_lang)
    ignores_lines = body.split_sentences == "nonewlines" and not body.tag_handling
    texts = [_LINE_BREAK.sub(" ", text) for text in body.text] if ignores_lines else body.text
    results = await state.translate(
        texts,
        body.source_lang or AUTO,
        target,
        body.search_options(),
        body.markup_rules(),
        body.split_sentences != "0",
        finders_with(glossary),
        partial(format_sentence, language=target) if body.preserve_formatting else None,
    )
    translations = []
    for sent, text, result in zip(body.text, texts, results, strict=True):
        language = result.detected.language if result.detected else registry.resolve(body.source_lang or AUTO)
        translated = result.text
        if body.preserve_formatting:
            pairs = [SentencePair(each.source, each.target) for each in result.sentences]
            translated = preserve_formatting(text, translated, pairs, target)
        translations.append(
            {
                "detected_source_language": language.upper(),
                "text": translated,
                **body.details(sent),
                **text_fields(result.problems),
            }
        )
    return JSONResponse({"translations": translations})


@router.get("/usage", responses=error_responses())
@router.post("/usage", responses=error_responses())
async def usage(request: Request) -> JSONResponse:
    """Return the characters used in the current month, and the limit."""
    state = application_state(request)
    body = await read_body(request, KeyRequest, with_query=True)
    key = state.admit(request, sent_key(request, body.auth_key))
    used = state.access.characters_used(key) if key else 0
    return JSONResponse({"character_count": used, "character_limit": (key and key.characters) or _UNLIMITED})


@router.post(
    "/document",
    openapi_extra=upload_body(
        *DeepLUpload.model_fields,
        "filename",
        required=("target_lang",),
    ),
    responses=error_responses(404),
)
async def upload_document(request: Request) -> dict[str, str]:
    """Start to translate a file. Problems of the file itself are reported in its state, as DeepL does."""
    state = application_state(request)
    registry = state.pipeline.registry
    file = await receive_file(state, request, sent_key(request), "auth_key")
    upload = validate(file.fields, DeepLUpload)
    check_languages(registry, upload.source_lang, upload.target_lang)
    job = await start_translation(
        state,
        request,
        file,
        (upload.source_lang or AUTO, with_formality(registry, upload.target_lang, upload.formality)),
        glossary_identifiers(upload.glossary_id, upload.glossary_ids),
        upload.output_format,
        reports_errors_later=True,
    )
    return {"document_id": job.id, "document_key": job.key}


@router.post("/document/{identifier}", openapi_extra=request_body(DeepLDocumentRequest), responses=error_responses(404))
async def document_status(request: Request, identifier: str) -> dict[str, Any]:
    """Return the state of a document."""
    job = await _find_job(application_state(request), request, identifier)
    status: dict[str, Any] = {"document_id": job.id, "status": job.status}
    if job.status == "translating":
        status["seconds_remaining"] = job.seconds_remaining
    elif job.status == "done":
        status |= {"billed_characters": job.characters, **document_fields(job.problems, job.unchanged)}
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
    if job.error:
        raise job.error
    if job.status != "done":
        raise ApiError(503, "the document is not translated yet", 1)
    data = await asyncio.to_thread(state.documents.path(job).read_bytes)
    state.documents.delete(job)
    return Response(data, media_type=DOWNLOAD_TYPE, headers={**DOWNLOAD_HEADERS, **attachment(job.name)})


async def _find_job(state: ApplicationState, request: Request, identifier: str) -> DocumentJob:
    body = await read_body(request, DeepLDocumentRequest, with_query=True)
    owner = owner_of(state.access.authenticate(sent_key(request, body.auth_key)))
    return state.documents.find(identifier, owner, body.document_key)


def _lowered(tags: list[str]) -> frozenset[str]:
    return frozenset(tag.lower() for tag in tags)
