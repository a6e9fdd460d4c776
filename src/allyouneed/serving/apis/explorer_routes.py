"""Routes of the attention explorer: its page, and the variants and answers that an open page requests."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from allyouneed.insight.attribution.attribute import MAX_TOKENS
from allyouneed.insight.page import html
from allyouneed.serving.apis.body import TOO_LARGE, UnicodeText, check_length, read_body
from allyouneed.serving.apis.openapi import DirectRoute, error_responses, request_body
from allyouneed.serving.queue.model_worker import ContrastedSentence, PatchedSentences, SwitchedSentence
from allyouneed.serving.registry import Route
from allyouneed.serving.state import AUTO, ApplicationState, application_state, bearer_token

router = APIRouter(tags=["allyouneed"], route_class=DirectRoute)
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ExploreRequest(BaseModel):
    """A request for the explorer's page."""

    q: UnicodeText = Field(description="One sentence.")
    source: str = Field(AUTO, description='Source language, or "auto".')
    target: str = Field(description="Target language.")
    api_key: str | None = Field(None, description="API key, if the server requires one.")


class ExploreVariantRequest(ExploreRequest):
    """A request for a variant of the explorer's data."""

    translation: UnicodeText = Field(description="The translation that the page shows.")
    switches: dict[str, Any] = Field(
        {},
        description="scale, future_mask, padding_mask, positions (true or false), temperature, off (heads as "
        "[kind, layer, head]); a switch that is left out is set as in the paper.",
    )


class ExploreAttributionRequest(ExploreRequest):
    """A request for the reasons why the model prefers one token to another."""

    candidate: list[UnicodeText] = Field(
        max_length=MAX_TOKENS,
        description="Tokens of a translation or its beginning, as in the page's data. The two are compared at the "
        "first token in which they differ.",
    )
    instead_of: list[UnicodeText] = Field(max_length=MAX_TOKENS, description="Tokens of the other one.")


class ExplorePatchingRequest(ExploreRequest):
    """A request for patching: which activations carry the difference between two sentences."""

    against: UnicodeText = Field(description="A similar sentence, whose pass receives the activations of `q`.")


@router.post(
    "/look", openapi_extra=request_body(ExploreRequest), responses=error_responses(404), response_class=HTMLResponse
)
async def explorer_page(request: Request) -> HTMLResponse:
    """Return a page that shows every attention head of every layer for one sentence."""
    state = application_state(request)
    body = await read_body(request, ExploreRequest)
    route = _admit(state, request, body)
    data = await state.within_limit(state.pipeline.explore(route, body.q))
    source, target = route[0]
    variant_request = {"q": body.q, "translation": data["translation"], "source": source, "target": target}
    page = await asyncio.to_thread(html, data, {"url": "/api/look", "body": variant_request})
    headers = {"Content-Security-Policy": _CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(page, headers=headers)


@router.post("/api/look", openapi_extra=request_body(ExploreVariantRequest), responses=error_responses(404))
async def explorer_variant(request: Request) -> JSONResponse:
    """Return attention, entropies, predicted tokens and translation with some of the model's switches set."""
    state = application_state(request)
    body = await read_body(request, ExploreVariantRequest)
    route = _admit(state, request, body)
    check_length(len(body.translation), state.settings.characters, TOO_LARGE)
    sentence = SwitchedSentence(body.q, body.translation, body.switches)
    return JSONResponse(await state.within_limit(state.pipeline.explore(route, sentence)))


@router.post(
    "/api/look/attribution", openapi_extra=request_body(ExploreAttributionRequest), responses=error_responses(404)
)
async def explorer_attribution(request: Request) -> JSONResponse:
    """Return what source and translation contribute to the preference for one token over another, with a test."""
    state = application_state(request)
    body = await read_body(request, ExploreAttributionRequest)
    route = _admit(state, request, body)
    sentence = ContrastedSentence(body.q, tuple(body.candidate), tuple(body.instead_of))
    return JSONResponse(await state.within_limit(state.pipeline.explore(route, sentence)))


@router.post("/api/look/patching", openapi_extra=request_body(ExplorePatchingRequest), responses=error_responses(404))
async def explorer_patching(request: Request) -> JSONResponse:
    """Return the effect of each activation of one sentence in the pass of another."""
    state = application_state(request)
    body = await read_body(request, ExplorePatchingRequest)
    check_length(len(body.against), state.settings.characters, TOO_LARGE)
    route = _admit(state, request, body, body.against)
    return JSONResponse(await state.within_limit(state.pipeline.explore(route, PatchedSentences(body.q, body.against))))


def _admit(state: ApplicationState, request: Request, body: ExploreRequest, *more: str) -> Route:
    """Admit a request whose texts are `body.q` and more."""
    check_length(len(body.q), state.settings.characters, TOO_LARGE)
    state.admit(request, body.api_key or bearer_token(request), [body.q, *more])
    return state.route(body.source, body.target, body.q)[0]
