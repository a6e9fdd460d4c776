"""allyouneed's own API: hypotheses, scores, word positions, search options and streaming."""

from __future__ import annotations

import math
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.languages import language_name
from allyouneed.serving.access.api_keys import owner_of
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import TOO_LARGE, UnicodeText, check_length, read_body
from allyouneed.serving.apis.deepl_glossaries import MOST_AT_ONCE, chosen_glossary, finders_with
from allyouneed.serving.apis.event_stream import prepend, translation_events
from allyouneed.serving.apis.openapi import DirectRoute, error_responses, request_body, upload_body
from allyouneed.serving.apis.problems import listed, listed_remarks
from allyouneed.serving.apis.translate_request import REPEATABLE_FIELDS, TranslateRequest
from allyouneed.serving.apis.uploads import download_response, receive_upload
from allyouneed.serving.detection.detector import DetectedLanguage
from allyouneed.serving.document_jobs import DocumentJob, file_types
from allyouneed.serving.pipeline.text_pipeline import AlignedSentence
from allyouneed.serving.pipeline.word_alternatives import WordAlternative
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.state import AUTO, ApplicationState, TextResult, application_state, bearer_token
from allyouneed.translation.options import SearchOptions

router = APIRouter(tags=["allyouneed"], route_class=DirectRoute)
_MAX_FORCED_CHARACTERS = 1000
_MAX_PREFIX_CHARACTERS = 10_000
_UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies pass each event on at once


class StreamRequest(BaseModel):
    """A request for a streamed translation."""

    model_config = ConfigDict(extra="forbid")

    q: UnicodeText = Field(description="The text.")
    source: str = Field(AUTO, description='Source language, or "auto".')
    target: str = Field(description="Target language.")
    words: bool = Field(False, description="Whether the final event has word scores and word alignment.")


class AlternativesRequest(BaseModel):
    """A request for other words at a position of a translation."""

    model_config = ConfigDict(extra="forbid")

    q: UnicodeText = Field(description="One sentence.")
    source: str = Field(AUTO, description='Source language, or "auto".')
    target: str = Field(description="Target language.")
    target_prefix: UnicodeText = Field(
        "", max_length=_MAX_PREFIX_CHARACTERS, description="The sentence's translation up to the word."
    )
    num_hypotheses: int = Field(5, ge=1, le=10, description="Maximum number of words.")
    beam_size: int | None = Field(None, ge=1, le=16, description="Beam size for the rest. Default: the model's.")
    glossary_ids: list[str] = Field(
        [], max_length=MOST_AT_ONCE, description="Ids of glossaries, whose missing terms are reported as problems."
    )


@router.post("/api/translate", openapi_extra=request_body(TranslateRequest), responses=error_responses(404))
async def translate(request: Request) -> JSONResponse:
    """Translate a text or a list of texts."""
    state = application_state(request)
    body = await read_body(request, TranslateRequest, lists=REPEATABLE_FIELDS)
    body.refuse_with_markup()
    texts = [body.q] if isinstance(body.q, str) else body.q
    check_length(sum(map(len, texts)), state.settings.characters, TOO_LARGE)
    check_length(sum(map(len, body.force_words)), _MAX_FORCED_CHARACTERS, TOO_LARGE)
    key = state.admit(request, bearer_token(request), texts)
    if body.glossary_ids and body.target_prefix:
        raise ApiError(400, "glossary_ids: leave it out, or leave target_prefix out")
    source = None if body.source.strip().lower() == AUTO else body.source
    glossary = await chosen_glossary(state, key, body.glossary_ids, source, body.target)
    markup_format = MarkupRules() if body.format == "html" else None
    split = not (body.target_prefix or body.force_words)  # constraints apply to one sentence
    finders = finders_with(glossary)
    results = await state.translate(texts, body.source, body.target, body.options(), markup_format, split, finders)
    return JSONResponse({"translations": [result_json(result) for result in results]})


@router.post("/api/stream", openapi_extra=request_body(StreamRequest), responses=error_responses())
async def stream(request: Request) -> StreamingResponse:
    """Translate greedily as server-sent events.

    `word` has the text so far; the last event is `done`, with a translation as in /api/translate, or `error`.
    """
    state = application_state(request)
    body = await read_body(request, StreamRequest)
    check_length(len(body.q), state.settings.characters, TOO_LARGE)
    state.admit(request, bearer_token(request), [body.q])
    options = TranslationOptions(SearchOptions(beam_size=1), words=body.words)
    events = translation_events(state, request, (body.q, body.source, body.target), options, result_json)
    first = await anext(events)  # raises before the response has started
    return StreamingResponse(prepend(first, events), media_type="text/event-stream", headers=_UNBUFFERED)


@router.post("/api/alternatives", openapi_extra=request_body(AlternativesRequest), responses=error_responses(404))
async def alternatives(request: Request) -> JSONResponse:
    """Find the words that the model could have chosen after the beginning of a sentence's translation.

    Each word comes with its log probability and the best translation that continues with it.
    """
    state = application_state(request)
    body = await read_body(request, AlternativesRequest)
    check_length(len(body.q), state.settings.characters, TOO_LARGE)
    key = state.admit(request, bearer_token(request), [body.q])
    source = None if body.source.strip().lower() == AUTO else body.source
    glossary = await chosen_glossary(state, key, body.glossary_ids, source, body.target)
    route, _ = state.route(body.source, body.target, body.q)
    if not route:
        raise ApiError(400, "nothing to translate: source and target are the same language")
    options, finders = TranslationOptions(SearchOptions(beam_size=body.beam_size)), finders_with(glossary)
    found = await state.within_limit(
        state.pipeline.alternatives(body.q, route, body.target_prefix, body.num_hypotheses, options, finders)
    )
    return JSONResponse({"alternatives": [_alternative_json(each, sentence) for each, sentence in found]})


@router.get("/api/languages")
async def languages(request: Request) -> dict[str, Any]:
    """Return the languages and limits that the web page needs."""
    state = application_state(request)
    registry = state.pipeline.registry
    names = {code: language_name(code, native=True) for pair in registry.translators for code in pair}
    return {
        "languages": [
            {"code": code, "name": names[code], "targets": registry.targets(code)} for code in registry.sources
        ],
        "names": names,
        "direct": [list(pair) for pair in sorted(registry.translators)],
        "characters": state.settings.characters,
        "file_bytes": state.settings.file_bytes,
        "file_formats": file_types(),
        "key_required": state.access.keys_required,
    }


@router.post(
    "/api/documents", openapi_extra=upload_body("source", "target"), responses=error_responses(404), status_code=202
)
async def upload_document(request: Request) -> dict[str, Any]:
    """Start to translate a file; poll its state under the returned id."""
    return _job_json(await receive_upload(application_state(request), request, bearer_token(request)))


@router.get("/api/documents/{identifier}", responses=error_responses(404))
async def document_state(request: Request, identifier: str) -> dict[str, Any]:
    """Return the state of a document."""
    state = application_state(request)
    return _job_json(state.documents.find(identifier, state.authenticate(request)))


@router.delete("/api/documents/{identifier}", responses=error_responses(404), status_code=204)
async def delete_document(request: Request, identifier: str) -> Response:
    """Cancel a translation and delete the file."""
    state = application_state(request)
    owner = owner_of(state.admit(request, bearer_token(request)))
    state.documents.delete(state.documents.find(identifier, owner))
    return Response(status_code=204)


@router.get("/download_file/{identifier}", responses=error_responses(404))
async def download(request: Request, identifier: str) -> FileResponse:
    """Download a translated file under its secret link, or under its id with the key of its owner."""
    state = application_state(request)
    return download_response(state, state.documents.find_link(identifier) or _own_document(state, request, identifier))


def _own_document(state: ApplicationState, request: Request, identifier: str) -> DocumentJob:
    try:
        owner = state.authenticate(request)
    except ApiError:
        owner = ""  # an old link is no reason to ask for a key
    return state.documents.find(identifier, owner)


def result_json(result: TextResult) -> dict[str, Any]:
    """Return a translation in the form of /api/translate."""
    return {
        "text": result.text,
        "alternatives": result.alternatives,
        "detected": detected_json(result.detected) if result.detected else None,
        "sentences": [_sentence_json(sentence) for sentence in result.sentences],
        "problems": listed(result.problems),
    }


def detected_json(detected: DetectedLanguage) -> dict[str, Any]:
    """Return a detected language in the form of /api/translate."""
    return {**detected._asdict(), "certain": detected.is_certain}


def _sentence_json(sentence: AlignedSentence) -> dict[str, Any]:
    """Format a sentence; positions ("place" in the API) are [start, end) in code points of the whole texts."""
    return {
        "source": sentence.source,
        "target": sentence.target,
        "score": _finite(sentence.translation.score),
        "hypotheses": [{"text": text, "score": _finite(score)} for text, score in sentence.translation.hypotheses],
        "words": _words_json(sentence),
        "alignment": _alignment_json(sentence),
    }


def _alternative_json(alternative: WordAlternative, sentence: AlignedSentence) -> dict[str, Any]:
    """Format an alternative; positions are in code points of the source sentence and of this translation."""
    return {
        "word": alternative.word,
        "log_probability": _finite(alternative.log_probability),
        "text": alternative.translation.text,
        "source": sentence.source,
        "words": _words_json(sentence),
        "alignment": _alignment_json(sentence),
        "problems": listed(alternative.translation.problems),
    }


def _words_json(sentence: AlignedSentence) -> list[dict[str, Any]]:
    return [{"place": span, "log_probability": _finite(score)} for span, score in sentence.words]


def _alignment_json(sentence: AlignedSentence) -> list[dict[str, Any]]:
    return [{"source": source, "target": target} for source, target in sentence.links]


def _finite(score: float) -> float | None:
    """Return None for an infinite score, the result of a forced token of probability 0, since JSON has no infinity."""
    return score if math.isfinite(score) else None


def _job_json(job: DocumentJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "done": job.done,
        "total": job.total,
        "seconds_remaining": job.seconds_remaining if job.status == "translating" and job.done else None,
        "error": job.error.message if job.error else None,
        "notes": job.notes,
        "problems": listed_remarks(job.problems),
        "unchanged": job.unchanged,
        "url": f"/download_file/{job.link}" if job.status == "done" else None,
    }
