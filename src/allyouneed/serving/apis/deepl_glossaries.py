"""DeepL's glossary API: version 2 for glossaries of one language pair, version 3 for those of several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from allyouneed.documents.segment_translation import Finders
from allyouneed.languages import primary
from allyouneed.serving.access.api_keys import ApiKey, owner_of
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import UnicodeText, read_body
from allyouneed.serving.apis.deepl_options import KeyRequest, sent_key
from allyouneed.serving.apis.openapi import DirectRoute, error_responses, request_body
from allyouneed.serving.glossaries import Pair, StoredGlossary, parse_entries
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.state import ApplicationState, application_state
from allyouneed.translation.requirements import Requirements
from allyouneed.translation.terminology.glossary import Entry, Glossary

router = APIRouter(tags=["DeepL"], route_class=DirectRoute)
MOST_AT_ONCE = 5  # glossaries of a translation, as in DeepL's API
_LONGEST_CODE = 40  # characters
_TSV = "text/tab-separated-values"
Result = TypeVar("Result")


class DictionaryRequest(KeyRequest):
    """A dictionary of a glossary."""

    source_lang: str = Field(description="Source language.")
    target_lang: str = Field(description="Target language.")
    entries: UnicodeText = Field(description="The entries: terms and their translations.")
    entries_format: Literal["tsv", "csv"] = Field("tsv", description="Format of the entries.")


class GlossaryRequest(DictionaryRequest):
    """A new glossary of one language pair."""

    name: UnicodeText = Field(description="Name of the glossary.")


class MultilingualGlossaryRequest(KeyRequest):
    """A new glossary."""

    name: UnicodeText = Field(description="Name of the glossary.")
    dictionaries: list[DictionaryRequest] = Field([], description="A dictionary for each language pair.")


class GlossaryChange(KeyRequest):
    """A change of a glossary."""

    name: UnicodeText | None = Field(None, description="New name.")
    dictionaries: list[DictionaryRequest] = Field(
        default=[], description="Entries that are added to the dictionary of their language pair."
    )


@router.get("/v2/glossary-language-pairs", responses=error_responses())
async def language_pairs(request: Request) -> dict[str, Any]:
    """List the language pairs for which glossaries can be created."""
    state, _ = _admitted(request)
    pairs = sorted(_served_pairs(state.pipeline.registry))
    return {"supported_languages": [{"source_lang": source, "target_lang": target} for source, target in pairs]}


@router.post(
    "/v2/glossaries", openapi_extra=request_body(GlossaryRequest), responses=error_responses(), status_code=201
)
async def create(request: Request) -> Response:
    """Create a glossary of one language pair."""
    body = await read_body(request, GlossaryRequest)
    state, owner = _admitted(request, body.auth_key)
    dictionaries = [_parsed(state, body)]
    stored = await _run(lambda: state.glossaries.create(owner, body.name, dictionaries))
    return JSONResponse(_single(stored), 201)


@router.get("/v2/glossaries", responses=error_responses())
async def all_single(request: Request) -> dict[str, Any]:
    """List the glossaries of one language pair."""
    state, owner = _admitted(request)
    stored = await _run(lambda: state.glossaries.all(owner))
    return {"glossaries": [_single(each) for each in stored if len(each.dictionaries) == 1]}


@router.get("/v2/glossaries/{identifier}", responses=error_responses(404))
async def information(request: Request, identifier: str) -> dict[str, Any]:
    """Return a glossary of one language pair without its entries."""
    state, owner = _admitted(request)
    return _single(await _run(lambda: state.glossaries.get(owner, identifier)))


@router.get("/v2/glossaries/{identifier}/entries", responses=error_responses(404))
async def entries(request: Request, identifier: str) -> Response:
    """Return the entries of a glossary of one language pair as TSV."""
    state, owner = _admitted(request)
    stored = _single(await _run(lambda: state.glossaries.get(owner, identifier)))
    pair = stored["source_lang"], stored["target_lang"]
    table = await _run(lambda: state.glossaries.entries(owner, identifier, pair))
    return Response(table.removesuffix("\n"), media_type=_TSV)


@router.delete("/v2/glossaries/{identifier}", responses=error_responses(404), status_code=204)
@router.delete("/v3/glossaries/{identifier}", responses=error_responses(404), status_code=204)
async def delete(request: Request, identifier: str) -> Response:
    """Delete a glossary."""
    state, owner = _admitted(request)
    await _run(lambda: state.glossaries.delete(owner, identifier))
    return Response(status_code=204)


@router.post(
    "/v3/glossaries",
    openapi_extra=request_body(MultilingualGlossaryRequest),
    responses=error_responses(),
    status_code=201,
)
async def create_multilingual(request: Request) -> Response:
    """Create a glossary of one or several language pairs."""
    body = await read_body(request, MultilingualGlossaryRequest)
    state, owner = _admitted(request, body.auth_key)
    dictionaries = [_parsed(state, each) for each in body.dictionaries]
    stored = await _run(lambda: state.glossaries.create(owner, body.name, dictionaries))
    return JSONResponse(asdict(stored), 201)


@router.get("/v3/glossaries", responses=error_responses())
async def all_multilingual(request: Request) -> dict[str, Any]:
    """List all glossaries."""
    state, owner = _admitted(request)
    return {"glossaries": [asdict(each) for each in await _run(lambda: state.glossaries.all(owner))]}


@router.get("/v3/glossaries/{identifier}", responses=error_responses(404))
async def information_multilingual(request: Request, identifier: str) -> dict[str, Any]:
    """Return a glossary without its entries."""
    state, owner = _admitted(request)
    return asdict(await _run(lambda: state.glossaries.get(owner, identifier)))


@router.patch("/v3/glossaries/{identifier}", openapi_extra=request_body(GlossaryChange), responses=error_responses(404))
async def change(request: Request, identifier: str) -> dict[str, Any]:
    """Rename a glossary, or add entries to its dictionaries."""
    body = await read_body(request, GlossaryChange)
    state, owner = _admitted(request, body.auth_key)
    changes: dict[Pair, Any] = dict(_parsed(state, each) for each in body.dictionaries)
    return asdict(await _run(lambda: state.glossaries.update(owner, identifier, body.name, changes, merge=True)))


@router.put(
    "/v3/glossaries/{identifier}/dictionaries",
    openapi_extra=request_body(DictionaryRequest),
    responses=error_responses(404),
)
async def replace_dictionary(request: Request, identifier: str) -> dict[str, Any]:
    """Replace or add the dictionary of a language pair."""
    body = await read_body(request, DictionaryRequest)
    state, owner = _admitted(request, body.auth_key)
    pair, new = _parsed(state, body)
    stored = await _run(lambda: state.glossaries.update(owner, identifier, None, {pair: new}, merge=False))
    return next(asdict(each) for each in stored.dictionaries if (each.source_lang, each.target_lang) == pair)


@router.delete("/v3/glossaries/{identifier}/dictionaries", responses=error_responses(404), status_code=204)
async def delete_dictionary(request: Request, identifier: str, source_lang: str, target_lang: str) -> Response:
    """Delete the dictionary of a language pair."""
    state, owner = _admitted(request)
    pair = _pair(source_lang, target_lang)
    await _run(lambda: state.glossaries.entries(owner, identifier, pair))  # raises 404 if there is none
    await _run(lambda: state.glossaries.update(owner, identifier, None, {pair: None}, merge=False))
    return Response(status_code=204)


@router.get("/v3/glossaries/{identifier}/entries", responses=error_responses(404))
async def entries_multilingual(request: Request, identifier: str, source_lang: str, target_lang: str) -> dict[str, Any]:
    """Return the entries of the dictionary of a language pair."""
    state, owner = _admitted(request)
    pair = _pair(source_lang, target_lang)
    table = (await _run(lambda: state.glossaries.entries(owner, identifier, pair))).removesuffix("\n")
    found = {"source_lang": pair[0], "target_lang": pair[1], "entries": table, "entries_format": "tsv"}
    return {"dictionaries": [found]}


async def chosen_glossary(
    state: ApplicationState, key: ApiKey | None, identifiers: list[str], source: str | None, target: str
) -> Glossary | None:
    """Return the glossary that a translation request names, or None if it names none.

    Raises:
        ApiError: 400 if the source language is missing or the pair is another one, 404 if there is no such glossary.
    """
    if not identifiers:
        return None
    if not source:
        raise ApiError(400, "a glossary requires the source language; give it instead of auto")
    if len(identifiers) > MOST_AT_ONCE:
        raise ApiError(400, f"glossary_ids: at most {MOST_AT_ONCE} glossaries at once")
    return await _run(lambda: state.glossaries.load(owner_of(key), identifiers, _pair(source, target)))


def glossary_identifiers(single: str | None, several: str | list[str] | None) -> list[str]:
    """Return the ids of the fields `glossary_id` and `glossary_ids`, which is a list or separated by commas.

    Raises:
        ApiError: 400 if both are given.
    """
    if single and several:
        raise ApiError(400, "glossary_id and glossary_ids are both given; leave one of them out")
    listed = [several] if isinstance(several, str) else several or []
    return [single] if single else [each.strip() for text in listed for each in text.split(",") if each.strip()]


def finders_with(glossary: Glossary | None) -> Finders | None:
    """Return finders for a translation with a glossary; None for the default ones."""
    if glossary is None:
        return None
    required = Requirements(glossary=glossary)
    return Finders(required.find_kept, required.find_terms)


def _admitted(request: Request, key: str | None = None) -> tuple[ApplicationState, str]:
    """Admit a request, whose body may have the API key, and return the state and the owner of its glossaries."""
    state = application_state(request)
    return state, owner_of(state.admit(request, sent_key(request, key)))


async def _run(work: Callable[[], Result]) -> Result:
    """Run work with files in another thread."""
    return await asyncio.to_thread(work)


def _parsed(state: ApplicationState, body: DictionaryRequest) -> tuple[Pair, list[Entry]]:
    pair = _pair(body.source_lang, body.target_lang)
    if pair not in _served_pairs(state.pipeline.registry):
        message = f"no model translates {pair[0]} to {pair[1]}; GET /v2/glossary-language-pairs lists the pairs"
        raise ApiError(400, message)
    return pair, parse_entries(body.entries, body.entries_format)


def _pair(source: str, target: str) -> Pair:
    """Return the languages without regions, since glossaries are for all varieties of a language."""
    return primary(source.strip()[:_LONGEST_CODE]), primary(target.strip()[:_LONGEST_CODE])


def _served_pairs(registry: TranslatorRegistry) -> set[Pair]:
    return {_pair(source, target) for source in registry.sources for target in registry.targets(source)}


def _single(stored: StoredGlossary) -> dict[str, Any]:
    """Return a glossary of one language pair as version 2 has it.

    Raises:
        ApiError: 404 if it has several pairs, or none.
    """
    if len(stored.dictionaries) != 1:
        raise ApiError(404, "the glossary has several language pairs; use version 3 of the API")
    [only] = stored.dictionaries
    return {
        "glossary_id": stored.glossary_id,
        "name": stored.name,
        "ready": True,
        **asdict(only),
        "creation_time": stored.creation_time,
    }
