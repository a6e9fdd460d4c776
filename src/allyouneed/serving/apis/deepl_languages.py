"""DeepL's lists of languages (versions 2 and 3 of the API), and a clear answer for products that are not offered."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from allyouneed.languages import language_name
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import read_body
from allyouneed.serving.apis.deepl_options import KeyRequest, is_formality_code, sent_key, supports_formality
from allyouneed.serving.apis.openapi import DirectRoute, error_responses
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.state import application_state

router = APIRouter(tags=["DeepL"], route_class=DirectRoute)
_WITH_REGION = {"en": ("en-GB", "en-US"), "pt": ("pt-BR", "pt-PT")}  # DeepL's clients refuse these targets without one
_STABLE = {"status": "stable"}
_BOTH_SIDES = {"needs_source_support": True, "needs_target_support": True}
_FEATURES: dict[str, dict[str, dict[str, bool]]] = {  # of each resource; which languages must support each feature
    "translate_text": {
        "formality": {"needs_target_support": True},
        "tag_handling": _BOTH_SIDES,
        "glossary": _BOTH_SIDES,
        "auto_detection": {"needs_source_support": True},
    },
    "translate_document": {
        "formality": {"needs_target_support": True},
        "glossary": _BOTH_SIDES,
        "auto_detection": {"needs_source_support": True},
    },
    "glossary": {},
}
Resource = Literal[
    "translate_text", "translate_document", "glossary", "voice", "write", "style_rules", "translation_memory"
]
_NOT_OFFERED = {
    "/v2/write": "text improvement (DeepL Write)",
    "/v2/admin": "the Admin API",
    "/v3/style_rules": "style rules",
    "/v3/translation_memories": "translation memories",
    "/v3/voice": "the Voice API",
    "/v1/jobs": "jobs",
    "/v1/quality-evaluation": "quality evaluation",
}


class LanguagesRequest(KeyRequest):
    """A request for languages, whose fields are in the query string or, from some clients, in a body."""

    type: Literal["source", "target"] = Field("source", description="Which languages to list.")


@router.get("/v2/languages", responses=error_responses())
@router.post("/v2/languages", responses=error_responses())
async def languages(request: Request) -> JSONResponse:
    """List source or target languages."""
    state = application_state(request)
    body = await read_body(request, LanguagesRequest, with_query=True)
    state.admit(request, sent_key(request, body.auth_key))
    registry = state.pipeline.registry
    if body.type == "source":
        return JSONResponse([{"language": code.upper(), "name": language_name(code)} for code in registry.sources])
    listed = [
        {
            "language": code.upper(),
            "name": language_name(code),
            "supports_formality": supports_formality(registry, served),
        }
        for code, served in target_languages(registry).items()
    ]
    return JSONResponse(listed)


@router.get("/v3/languages", responses=error_responses())
async def languages_of_resource(request: Request, resource: Resource) -> list[dict[str, Any]]:
    """List the languages of a resource; it has none if this server does not offer it."""
    state = application_state(request)
    state.admit(request, sent_key(request))
    if resource not in _FEATURES:
        return []
    registry = state.pipeline.registry
    sources, targets = registry.sources, target_languages(registry)
    listed = []
    for code in sorted({*sources, *targets}):
        features = dict.fromkeys(_FEATURES[resource], _STABLE)
        if code not in sources:
            features.pop("auto_detection", None)
        if not supports_formality(registry, targets.get(code, code)):
            features.pop("formality", None)
        listed.append(
            {
                "lang": code,
                "name": language_name(code),
                "usable_as_source": code in sources,
                "usable_as_target": code in targets,
                "status": "stable",
                "features": features,
            }
        )
    return listed


@router.get("/v3/languages/resources", responses=error_responses())
async def resources(request: Request) -> list[dict[str, Any]]:
    """List the resources that this server offers, with their features."""
    application_state(request).admit(request, sent_key(request))
    return [
        {"name": resource, "features": [{"name": name, **needs} for name, needs in features.items()]}
        for resource, features in _FEATURES.items()
    ]


def target_languages(registry: TranslatorRegistry) -> dict[str, str]:
    """Return the codes of target languages for DeepL's clients, with the served code of each."""
    served = sorted({target for source in registry.sources for target in registry.targets(source)})
    return {code: each for each in served if not is_formality_code(each) for code in _WITH_REGION.get(each, (each,))}


def _refuse(path: str) -> None:
    """Add routes that name what this server does not offer; DeepL's clients would repeat a request after a 501."""

    async def not_offered(request: Request) -> Response:
        raise ApiError(404, f"{_NOT_OFFERED[path]}: not supported by this server")

    for each in (path, path + "/{rest:path}"):
        router.add_api_route(
            each, not_offered, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
        )


for _path in _NOT_OFFERED:
    _refuse(_path)
