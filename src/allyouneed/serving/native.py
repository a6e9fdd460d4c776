"""Our own API: what the others lack. Hypotheses, scores and places of words, search options, and word by word."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from allyouneed.errors import UserError
from allyouneed.insight.page import html
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.body import Text, checked, read_body, refuse_long
from allyouneed.serving.document_jobs import FORMATS, Document
from allyouneed.serving.markup import Form
from allyouneed.serving.model_worker import Options, Switched
from allyouneed.serving.openapi import Direct, body_of, errors, upload_of
from allyouneed.serving.pairs import Pair
from allyouneed.serving.pipeline import Sentence
from allyouneed.serving.state import Result, Server, language_name

_TOO_LONG = 413
_MOST_FORCED = 1000  # characters, as of a prefix
_EXPLORER_MAY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class TranslateBody(BaseModel):
    """q: one text or several; words: scores and places of words, and which belong together; target_prefix: how the
    translation begins, force_words: what it contains (then each text is one sentence); the other options are the
    model's own unless given."""

    model_config = ConfigDict(extra="forbid")

    q: Text | list[Text]
    source: str = "auto"
    target: str
    format: Literal["text", "html"] = "text"
    num_hypotheses: int = Field(1, ge=1, le=16)
    beam_size: int | None = Field(None, ge=1, le=16)
    length_penalty: float | None = Field(None, ge=-10, le=10, allow_inf_nan=False)
    max_extra_length: int | None = Field(None, ge=0, le=500)
    target_prefix: Text = Field("", max_length=1000)
    words: bool = False
    force_words: list[Text] = Field([], max_length=16)
    num_beam_groups: int = Field(1, ge=1, le=16)
    diversity_penalty: float = Field(0.5, ge=0, le=100, allow_inf_nan=False)
    coverage_penalty: float = Field(0.0, ge=0, le=100, allow_inf_nan=False)

    def options(self) -> Options:
        given = {name: getattr(self, name) for name in Options._fields}
        return Options(**{**given, "force_words": tuple(self.force_words)})


class StreamBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    q: Text
    source: str = "auto"
    target: str
    words: bool = False


class LookBody(BaseModel):
    q: Text
    source: str = "auto"
    target: str
    api_key: str | None = None


class SwitchedBody(LookBody):
    """switches: `scale`, `future_mask`, `padding_mask`, `positions` (true or false), `temperature`, `off` (heads as
    [kind, layer, head]); what is absent is as in the paper."""

    translation: Text
    switches: dict[str, Any] = {}


def routes(server: Server) -> APIRouter:
    router = APIRouter(tags=["allyouneed"], route_class=Direct)
    limits = server.settings

    @router.post("/api/translate", openapi_extra=body_of(TranslateBody), responses=errors())
    async def translate(request: Request) -> JSONResponse:
        body = await read_body(request, TranslateBody, lists=("q", "force_words"))
        texts = [body.q] if isinstance(body.q, str) else body.q
        refuse_long(sum(map(len, texts)), limits.characters, _TOO_LONG)
        refuse_long(sum(map(len, body.force_words)), _MOST_FORCED, _TOO_LONG)
        server.enter(request, bearer(request), texts)
        form = Form() if body.format == "html" else None
        split = not (body.target_prefix or body.force_words)
        results = await server.translate(texts, body.source, body.target, body.options(), form, split)
        return JSONResponse({"translations": [_told(result) for result in results]})

    @router.post("/api/stream", openapi_extra=body_of(StreamBody), responses=errors())
    async def stream(request: Request) -> StreamingResponse:
        """Server-sent events: `word` with the text so far, at the end `done` with all that /api/translate tells, or
        `error`. Greedy, since only then a word that was said stays said."""
        body = await read_body(request, StreamBody)
        refuse_long(len(body.q), limits.characters, _TOO_LONG)
        server.enter(request, bearer(request), [body.q])
        events = _events(server, body)
        first = await anext(events)  # what is refused is refused before the stream begins
        return StreamingResponse(_prepended(first, events), media_type="text/event-stream")

    @router.get("/api/languages")
    async def languages() -> dict[str, Any]:
        """What the page needs to know."""
        pairs = server.desk.pairs
        return {
            "languages": [
                {"code": code, "name": language_name(code, own=True), "targets": pairs.targets(code)}
                for code in pairs.sources
            ],
            "names": {code: language_name(code, own=True) for pair in pairs.translators for code in pair},
            "direct": [list(pair) for pair in sorted(pairs.translators)],
            "characters": limits.characters,
            "file_bytes": limits.file_bytes,
            "file_formats": list(FORMATS),
            "key_required": server.gate.required,
        }

    @router.post("/api/documents", openapi_extra=upload_of("source", "target"), responses=errors(404), status_code=202)
    async def upload(request: Request) -> dict[str, Any]:
        """Begins to translate a file; ask for it under its id."""
        document = await receive_file(server, request, bearer(request))
        return _state(document)

    @router.get("/api/documents/{identifier}", responses=errors(404))
    async def document_state(request: Request, identifier: str) -> dict[str, Any]:
        if server.gate.required:  # whoever waits for a file asks often: that counts nothing
            server.gate.identify(bearer(request))
        return _state(server.documents.find(identifier))

    @router.delete("/api/documents/{identifier}", responses=errors(404), status_code=204)
    async def delete_document(request: Request, identifier: str) -> Response:
        server.enter(request, bearer(request))
        server.documents.delete(server.documents.find(identifier))
        return Response(status_code=204)

    @router.get("/download_file/{identifier}", responses=errors(404))
    async def download(identifier: str) -> FileResponse:
        """A translated file. Whoever has its address, which cannot be guessed, may fetch it."""
        return file_response(server, server.documents.find(identifier))

    @router.post("/look", openapi_extra=body_of(LookBody), responses=errors(404), response_class=HTMLResponse)
    async def look(request: Request) -> HTMLResponse:
        """What every head of every layer does with a sentence: a page."""
        body = await read_body(request, LookBody)
        way = enter_to_look(request, body)
        data = await server.in_time(server.desk.look(way, body.q))
        source, target = way[0]
        asking = {"q": body.q, "translation": data["translation"], "source": source, "target": target}
        page = await asyncio.to_thread(html, data, {"url": "/api/look", "body": asking})
        return HTMLResponse(page, headers={"Content-Security-Policy": _EXPLORER_MAY, "Cache-Control": "no-store"})

    @router.post("/api/look", openapi_extra=body_of(SwitchedBody), responses=errors(404))
    async def look_switched(request: Request) -> JSONResponse:
        """What changes when switches of the model are turned: attention, entropies, next words, the translation."""
        body = await read_body(request, SwitchedBody)
        way = enter_to_look(request, body)
        refuse_long(len(body.translation), limits.characters, _TOO_LONG)
        switched = Switched(body.q, body.translation, body.switches)
        return JSONResponse(await server.in_time(server.desk.look(way, switched)))

    def enter_to_look(request: Request, body: LookBody) -> list[Pair]:
        refuse_long(len(body.q), limits.characters, _TOO_LONG)
        server.enter(request, body.api_key or bearer(request), [body.q])
        return server.way(body.source, body.target, body.q)[0]

    return router


def bearer(request: Request) -> str | None:
    """The key of `Authorization: Bearer KEY` or `DeepL-Auth-Key KEY`."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() in ("bearer", "deepl-auth-key") else None


async def receive_file(
    server: Server, request: Request, secret: str | None, names: tuple[str, str] = ("source", "target")
) -> Document:
    """An uploaded file, on its way to be translated. names: of the form's fields. Errors: `ApiError`."""

    class Fields(BaseModel):
        source: str = "auto"
        target: str
        api_key: str | None = None

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "missing file parameter: send a form of type multipart/form-data")
    async with request.form(max_files=1, max_fields=50) as form:
        given = {"source": form.get(names[0]) or "auto", "target": form.get(names[1]), "api_key": form.get("api_key")}
        fields = checked({name: value for name, value in given.items() if value is not None}, Fields)
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ApiError(400, "missing file parameter")
        secret = secret or fields.api_key
        if server.gate.required:
            server.gate.identify(secret)
        data, filename = await file.read(), str(form.get("filename") or file.filename or "")
    server.documents.check(filename, data)
    text = data.decode("utf-8", "replace")
    way, _ = server.way(fields.source, fields.target, text[:5000])
    if not way:
        raise ApiError(400, "the file is in the target language already")
    server.enter(request, secret, [text])
    return server.documents.accept(filename, data, way)


def file_response(server: Server, document: Document) -> FileResponse:
    if document.status != "done":
        raise ApiError(404, "the file is not translated yet")
    return FileResponse(
        server.documents.path(document),
        filename=document.name,
        media_type="application/octet-stream",  # never shown as a page of ours
        headers={"X-Content-Type-Options": "nosniff"},
    )


def _state(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "name": document.name,
        "status": document.status,
        "done": document.done,
        "total": document.total,
        "error": document.error.message if document.error else None,
        "url": f"/download_file/{document.id}" if document.status == "done" else None,
    }


def _told(result: Result) -> dict[str, Any]:
    return {
        "text": result.text,
        "alternatives": result.alternatives,
        "detected": result.guess._asdict() if result.guess else None,
        "sentences": [_sentence(sentence) for sentence in result.sentences],
    }


def _sentence(sentence: Sentence) -> dict[str, Any]:
    """Places are [start, end) in characters (code points) of the whole text."""
    return {
        "source": sentence.source,
        "target": sentence.target,
        "score": sentence.answer.score,
        "hypotheses": [{"text": text, "score": score} for text, score in sentence.answer.hypotheses],
        "words": [{"place": place, "log_probability": score} for place, score in sentence.words],
        "alignment": [{"source": source, "target": target} for source, target in sentence.links],
    }


class _NobodyListens(UserError):
    """Ends a search whose client has left."""


async def _events(server: Server, body: StreamBody) -> AsyncIterator[str]:
    """Events, as text. Errors: `ApiError` before the first one."""
    way, guess = server.way(body.source, body.target, body.q)
    loop, left = asyncio.get_running_loop(), threading.Event()
    heard: asyncio.Queue[str | None] = asyncio.Queue()

    def say(so_far: str) -> None:
        if left.is_set():
            raise _NobodyListens("the client left")
        loop.call_soon_threadsafe(heard.put_nowait, so_far)

    options = Options(beam_size=1, words=body.words)
    begun = False
    if not way:
        yield _event("done", _told(Result(body.q, [], [], guess)))
        return
    work = asyncio.create_task(server.in_time(server.desk.aloud(body.q, way, options, say)))
    work.add_done_callback(lambda _: heard.put_nowait(None))
    try:
        while (so_far := await heard.get()) is not None:
            yield _event("word", {"text": so_far})
            begun = True
        yield _event("done", _told(Result(*work.result(), guess)))
    except (ApiError, UserError) as error:
        if not begun:
            raise
        yield _event("error", {"error": str(error)})
    finally:
        left.set()
        work.cancel()


async def _prepended(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for event in rest:
        yield event


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
