"""DeepL's API, version 2, as its clients know it: https://developers.deepl.com. Errors are `{"message": message}`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, BeforeValidator

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import Text, read_body, refuse_long
from allyouneed.serving.document_jobs import Document
from allyouneed.serving.markup import Form
from allyouneed.serving.native import bearer, receive_file
from allyouneed.serving.openapi import Direct, body_of, errors, upload_of
from allyouneed.serving.state import Server, language_name

_UNLIMITED = 1_000_000_000_000  # what DeepL's own API says where there is no limit
_TOO_LONG = 413


def _as_list(value: Any) -> Any:
    """Tags come as a list, or as one text with commas."""
    parts = [value] if isinstance(value, str) else value or []
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value  # which is refused then
    return [tag for part in parts for tag in part.split(",")]


Tags = Annotated[list[str], BeforeValidator(lambda value: _as_list(value))]
Texts = Annotated[list[Text], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class TranslateBody(BaseModel):
    """split_sentences: 0 for texts that are one sentence each; ignore_tags: what stands in them stays as it is."""

    text: Texts
    target_lang: str
    source_lang: str | None = None
    split_sentences: Literal["0", "1", "nonewlines"] | int | None = None
    preserve_formatting: Any = None
    formality: str | None = None
    tag_handling: Literal["xml", "html"] | None = None
    ignore_tags: Tags = []
    splitting_tags: Tags = []
    glossary_id: str | None = None
    show_billed_characters: bool = False


class DocumentBody(BaseModel):
    document_key: str


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v2", tags=["DeepL"], route_class=Direct)

    @router.post("/translate", openapi_extra=body_of(TranslateBody), responses=errors())
    async def translate(request: Request) -> JSONResponse:
        body = await read_body(request, TranslateBody, lists=("text", "ignore_tags", "splitting_tags"))
        _refuse_what_we_lack(body)
        refuse_long(sum(map(len, body.text)), server.settings.characters, _TOO_LONG)
        server.enter(request, bearer(request), body.text)
        form = None
        if body.tag_handling:
            form = Form(body.tag_handling, _lower(body.splitting_tags), _lower(body.ignore_tags))
        source, split = body.source_lang or "auto", str(body.split_sentences) != "0"
        results = await server.translate(body.text, source, body.target_lang, form=form, split=split)
        translations = []
        for text, result in zip(body.text, results, strict=True):
            language = result.guess.language if result.guess else server.desk.pairs.known(source)
            billed = {"billed_characters": len(text)} if body.show_billed_characters else {}
            translations.append({"detected_source_language": language.upper(), "text": result.text, **billed})
        return JSONResponse({"translations": translations})

    @router.get("/languages", responses=errors())
    async def languages(request: Request, type: Literal["source", "target"] | None = None) -> list[dict[str, Any]]:
        """type: also as a form in the body, where DeepL's client puts it though it is a GET."""
        server.enter(request, bearer(request))
        pairs = server.desk.pairs
        side = type or (await request.form(max_files=0, max_fields=10)).get("type") or "source"
        codes = pairs.sources if side == "source" else sorted({t for s in pairs.sources for t in pairs.targets(s)})
        return [{"language": code.upper(), "name": language_name(code), "supports_formality": False} for code in codes]

    @router.get("/usage", responses=errors())
    async def usage(request: Request) -> dict[str, int]:
        key = server.enter(request, bearer(request))
        if key is None:
            return {"character_count": 0, "character_limit": _UNLIMITED}
        return {"character_count": server.gate.used(key), "character_limit": key.characters or _UNLIMITED}

    @router.post(
        "/document",
        openapi_extra=upload_of("source_lang", "target_lang", required=("target_lang",)),
        responses=errors(),
    )
    async def upload(request: Request) -> dict[str, str]:
        document = await receive_file(server, request, bearer(request), ("source_lang", "target_lang"))
        return {"document_id": document.id, "document_key": document.key}

    @router.post("/document/{identifier}", openapi_extra=body_of(DocumentBody), responses=errors(404))
    async def state(request: Request, identifier: str) -> dict[str, Any]:
        document = await _asked(server, request, identifier)
        told: dict[str, Any] = {"document_id": document.id, "status": document.status}
        if document.status == "translating":
            told["seconds_remaining"] = 1
        elif document.status == "done":
            told["billed_characters"] = document.characters
        elif document.error:
            told["error_message"] = document.error.message
        return told

    @router.post("/document/{identifier}/result", openapi_extra=body_of(DocumentBody), responses=errors(404))
    async def result(request: Request, identifier: str) -> Response:
        """Once: then the file is deleted, as DeepL does."""
        document = await _asked(server, request, identifier)
        if document.status != "done":
            raise ApiError(503, "the document is not translated yet", 1)
        data = await asyncio.to_thread(server.documents.path(document).read_bytes)
        server.documents.delete(document)
        return Response(data, media_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})

    return router


async def _asked(server: Server, request: Request, identifier: str) -> Document:
    body = await read_body(request, DocumentBody)
    if server.gate.required:  # whoever waits for a file asks often: that counts nothing
        server.gate.identify(bearer(request))
    return server.documents.find(identifier, body.document_key)


def _refuse_what_we_lack(body: TranslateBody) -> None:
    """What would change the translation is refused, not passed over. Errors: `ApiError` 400."""
    if body.glossary_id:
        raise ApiError(400, "glossaries are not supported; leave glossary_id out")
    if body.formality in ("more", "less"):
        raise ApiError(400, "formality is not supported for this language; use prefer_more or prefer_less")


def _lower(tags: list[str]) -> frozenset[str]:
    return frozenset(tag.strip().lower() for tag in tags)
