"""The application: routes of three APIs and the page around one service, from start to graceful end."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from allyouneed import __version__
from allyouneed.errors import UserError
from allyouneed.serving import deepl, libretranslate, native
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.api_keys import Gate
from allyouneed.serving.body import BodyLimit
from allyouneed.serving.detect import Detector
from allyouneed.serving.document_jobs import Documents
from allyouneed.serving.model_worker import Aloud, Kind, ModelWorker, Switched, translate
from allyouneed.serving.pairs import Pairs
from allyouneed.serving.pipeline import Desk
from allyouneed.serving.request_queue import Service
from allyouneed.serving.server_settings import Settings
from allyouneed.serving.state import Server
from allyouneed.serving.telemetry import Metrics, Telemetry

_STATIC = Path(__file__).parent / "static"
_PAGE_MAY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_BYTES_A_SUBWORD = 3  # rather too few: 3.7 in English, about 5 in Korean
_CHORES = 10.0  # seconds between them
_FORM_OVERHEAD = 64 * 1024  # what a multipart form adds to its file


def build_app(pairs: Pairs, settings: Settings) -> FastAPI:
    """Errors: `UserError` when the file of keys cannot be read."""
    metrics = Metrics()

    def weigh(kind: Kind, payload: str | Aloud | Switched) -> int:
        if kind.task is translate and isinstance(payload, str):
            return 1 + len(payload.encode()) // _BYTES_A_SUBWORD  # to count them takes the event loop too long
        return settings.batch_tokens  # works through its batch one by one: nothing is to wait beside it

    def observe(kind: Kind, payloads: Sequence[str | Aloud | Switched], seconds: float) -> None:
        texts = [payload if isinstance(payload, str) else payload.text for payload in payloads]
        tokens = sum(len(ids) + 1 for ids in map(pairs.translators[kind.pair].tokenizer.encode, texts))
        metrics.observe_batch(len(texts), tokens, seconds)

    service = Service(
        lambda: ModelWorker(pairs),
        weigh,
        settings.threads,
        settings.batch_tokens,
        settings.gather_seconds,
        settings.queue_sentences,
        observe,
    )
    metrics.queue.set_function(lambda: service.waiting)
    desk, gate = Desk(pairs, service), Gate(settings.keys, settings.per_minute)
    server = Server(desk, gate, Documents(desk, settings), metrics, Detector(pairs.sources), settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        await asyncio.to_thread(service.wait_until_ready)
        chores = asyncio.create_task(_do_chores(server))
        yield
        chores.cancel()
        await server.documents.close()
        await asyncio.to_thread(service.close)
        gate.save()

    app = FastAPI(title="allyouneed", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    for routes in (libretranslate.routes, deepl.routes, native.routes):  # looked for in this order, at every request
        app.include_router(routes(server))
    _add_own_routes(app, server)
    _add_errors(app)
    app.add_middleware(BodyLimit, settings.body_bytes, settings.file_bytes + _FORM_OVERHEAD, settings.body_seconds)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Telemetry, metrics, settings.log_text)
    return app


async def _do_chores(server: Server) -> None:
    while True:
        await asyncio.sleep(_CHORES)
        server.documents.expire()
        with suppress(UserError):  # a full disk: tried again next time
            server.gate.save()


def _add_own_routes(app: FastAPI, server: Server) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get("/ready", tags=["operation"], responses={503: {"description": "No model can take work."}})
    async def ready() -> dict[str, str]:
        """A balancer may send requests here."""
        if not server.desk.service.ready:
            raise ApiError(503, "no model is ready", 5)
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], responses={401: {"description": "The token is missing or wrong."}})
    async def metrics(request: Request) -> Response:
        """For Prometheus; with `Authorization: Bearer TOKEN` where a token is set."""
        token = server.settings.metrics_token
        if token and not hmac.compare_digest((native.bearer(request) or "").encode(), token.encode()):
            raise ApiError(401, "the metrics need their token: Authorization: Bearer TOKEN")
        return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def page(name: str) -> FileResponse:
        return FileResponse(_STATIC / name, headers={"Content-Security-Policy": _PAGE_MAY, "Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return page("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return page("docs.html")

    app.mount("/static", StaticFiles(directory=_STATIC), name="static")


def _add_errors(app: FastAPI) -> None:
    """One form of error for each API."""

    def answer(request: Request, status: int, message: str, retry_after: int | None = None) -> JSONResponse:
        name = "message" if request.url.path.startswith("/v2/") else "error"
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        if status in (408, 413):
            headers["Connection"] = "close"  # the rest of the body is not read
        message = message.encode("utf-8", "replace").decode()  # it may quote half a surrogate pair of a client's
        return JSONResponse({name: message}, status, headers)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error.status, error.message, error.retry_after)

    @app.exception_handler(UserError)
    async def mistaken(request: Request, error: UserError) -> JSONResponse:
        return answer(request, 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return answer(request, 400, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return answer(request, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return answer(request, 500, "an error of the server; it is in the log")
