"""The ASGI application: three APIs and a web page around one request queue, from startup to graceful shutdown."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from allyouneed import __version__
from allyouneed.config.descriptions import plain_message
from allyouneed.errors import UserError
from allyouneed.serving.access.api_keys import AccessControl
from allyouneed.serving.access.site_guard import SiteGuard
from allyouneed.serving.api_errors import ApiError, UnservedLanguageError
from allyouneed.serving.apis import deepl, deepl_glossaries, deepl_languages, explorer_routes, libretranslate, native
from allyouneed.serving.apis.body import BodyLimitMiddleware
from allyouneed.serving.apis.http_methods import HeadMiddleware, allow_header
from allyouneed.serving.detection.detector import LanguageDetector
from allyouneed.serving.document_jobs import DocumentJobs
from allyouneed.serving.glossaries import GlossaryStore
from allyouneed.serving.pipeline.text_pipeline import TranslationPipeline
from allyouneed.serving.queue.cancellation import CancellationMiddleware
from allyouneed.serving.queue.model_threads import Backoff, Worker
from allyouneed.serving.queue.model_worker import BatchKey, ModelWorker, StreamingSentence, SwitchedSentence, translate
from allyouneed.serving.queue.request_queue import QueueLimits, RequestQueue
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.state import ApplicationState, application_state, bearer_token
from allyouneed.serving.telemetry import ServerMetrics, TelemetryMiddleware
from allyouneed.translation.sentence import Sentence
from allyouneed.translation.workers import available_cores

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_BYTES_PER_TOKEN = 3  # a low estimate: 3.7 in English, about 5 in Korean
_MAINTENANCE_SECONDS = 10.0
_LAST_SECONDS = 2.0  # for batches without a client, which stop at their next step
_UNAUTHORIZED, _METHOD_NOT_ALLOWED = 401, 405
_FORM_OVERHEAD = 64 * 1024  # bytes that a multipart form adds to its file
_GLOSSARY_OVERHEAD = 3  # bytes of JSON for a byte of UTF-8, with escapes
Payload = Sentence | str | StreamingSentence | SwitchedSentence
operations = APIRouter(tags=["operation"])
pages = APIRouter(include_in_schema=False)


def build_app(
    registry: TranslatorRegistry, settings: ServerSettings, make_worker: Callable[[], Worker] | None = None
) -> FastAPI:
    """Build the application.

    Args:
        registry: The served translators.
        settings: Limits, keys and logging.
        make_worker: Called in each model thread; by default it translates there, see `ModelWorker`.

    Raises:
        UserError: If the key file cannot be read, or the folder of glossaries cannot be made.
    """
    metrics = ServerMetrics()
    queue = _request_queue(registry, settings, metrics, make_worker or partial(ModelWorker, registry))
    metrics.queue.set_function(lambda: queue.waiting)
    pipeline = TranslationPipeline(registry, queue, seconds=settings.seconds)
    access = AccessControl(settings.keys, settings.per_minute)
    documents, detector = DocumentJobs(pipeline, settings), LanguageDetector(registry.languages)
    app = FastAPI(
        title="allyouneed",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would have the Host header in its Location
    )
    glossaries = GlossaryStore(_glossary_folder(settings, documents), settings.glossary_bytes)
    app.state.application = ApplicationState(pipeline, access, documents, glossaries, metrics, detector, settings)
    # The most frequently used routes come first, since Starlette tries them in this order for every request.
    for module in (libretranslate, deepl, native, explorer_routes, deepl_glossaries, deepl_languages):
        app.include_router(module.router)
    app.include_router(operations)
    app.include_router(pages)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    _add_error_handlers(app)
    file_bytes = settings.file_bytes + _FORM_OVERHEAD
    glossary_bytes = _GLOSSARY_OVERHEAD * settings.glossary_bytes
    app.add_middleware(
        BodyLimitMiddleware,
        settings.body_bytes,
        file_bytes,
        max(glossary_bytes, settings.body_bytes),
        settings.body_seconds,
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Content-Disposition", "Retry-After"],
        )
    app.add_middleware(CancellationMiddleware, _api_error_response)
    app.add_middleware(SiteGuard, settings, _api_error_response)
    app.add_middleware(TelemetryMiddleware, metrics, settings.log_text)
    app.add_middleware(HeadMiddleware)
    return app


def _glossary_folder(settings: ServerSettings, documents: DocumentJobs) -> Path:
    """Return the folder of glossaries: that of the settings, else next to the keys, else a temporary one.

    Raises:
        UserError: If that of the settings cannot be made.
    """
    if settings.glossaries:
        try:
            settings.glossaries.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"--glossaries {settings.glossaries} is not a folder, and cannot become one: {reason}. Choose another."
            ) from error
        return settings.glossaries
    return settings.keys.with_suffix(".glossaries") if settings.keys else documents.folder / "glossaries"


def _request_queue(
    registry: TranslatorRegistry, settings: ServerSettings, metrics: ServerMetrics, make_worker: Callable[[], Worker]
) -> RequestQueue:
    def weigh(key: BatchKey, payload: Payload) -> int:
        if isinstance(payload, Sentence | StreamingSentence):
            return 1 + len(payload.text.encode()) // _BYTES_PER_TOKEN  # tokenizing would block the event loop
        return settings.batch_tokens  # the explorer takes long for a sentence

    def observe(key: BatchKey, payloads: Sequence[Payload], seconds: float) -> None:
        texts = [payload if isinstance(payload, str) else payload.text for payload in payloads]
        tokens = sum(len(ids) + 1 for ids in map(registry.translators[key.pair].tokenizer.encode, texts))
        metrics.observe_batch(len(texts), tokens, seconds)

    limits = QueueLimits(
        settings.processes if settings.processes > 1 else settings.threads or available_cores(),
        settings.batch_tokens,
        gather_seconds=settings.gather_seconds,
        backoff=Backoff(give_up_seconds=settings.restart_seconds),
        queue_sentences=settings.queue_sentences,
    )
    return RequestQueue(make_worker, weigh, limits, observe, lambda key: key.task is translate)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ApplicationState = app.state.application
    queue = state.pipeline.queue
    queue.start()
    _handle_hangup(state)
    await asyncio.to_thread(queue.wait_until_ready)
    maintenance = asyncio.create_task(_maintain(state))
    yield
    maintenance.cancel()
    await state.documents.close()
    await asyncio.to_thread(queue.close, _LAST_SECONDS)
    _save_usage(state)


def _handle_hangup(state: ApplicationState) -> None:
    """Reload the keys on SIGHUP; without keys, shut down as on SIGTERM, unless the signal is ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        return
    loop = asyncio.get_running_loop()
    if state.access.keys_required:
        loop.add_signal_handler(signal.SIGHUP, state.access.reload_keys)
    elif signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)


async def _maintain(state: ApplicationState) -> None:
    while True:
        await asyncio.sleep(_MAINTENANCE_SECONDS)
        state.documents.delete_expired()
        _save_usage(state)


def _save_usage(state: ApplicationState) -> None:
    """Store the usage of the keys. If that fails, the log has the reason, and the next call tries again."""
    try:
        state.access.save_usage()
    except UserError as error:
        _log.error("the usage of the keys was not stored: %s", error)


@operations.get("/health")
async def health() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "ok"}


@operations.get("/ready", responses={503: {"description": "No model can take work."}})
async def ready(request: Request) -> dict[str, str]:
    """Report whether a load balancer may send requests."""
    if not application_state(request).pipeline.queue.ready:
        raise ApiError(503, "no model is ready", 5)
    return {"status": "ready"}


@operations.get(
    "/metrics", response_class=PlainTextResponse, responses={401: {"description": "The token is missing or wrong."}}
)
async def prometheus_metrics(request: Request) -> Response:
    """Return Prometheus metrics; `Authorization: Bearer TOKEN` is required if the server has a token."""
    state = application_state(request)
    token = state.settings.metrics_token
    if token and not hmac.compare_digest((bearer_token(request) or "").encode(), token.encode()):
        raise ApiError(_UNAUTHORIZED, "the metrics require a token: Authorization: Bearer TOKEN")
    content, content_type = state.metrics.render(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": content_type})


@pages.get("/")
async def index_page() -> FileResponse:
    """Serve the web page."""
    return _page("index.html")


@pages.get("/docs")
async def docs_page() -> FileResponse:
    """Serve the API documentation."""
    return _page("docs.html")


def _page(name: str) -> FileResponse:
    headers = {"Content-Security-Policy": _CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(_STATIC / name, headers=headers)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return _api_error_response(request, error)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return _error_response(request, 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error_response(request, 400, f"{'.'.join(map(str, first['loc'][1:]))}: {plain_message(first)}")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code != _METHOD_NOT_ALLOWED:
            return _error_response(request, error.status_code, str(error.detail))
        allow = allow_header(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        return _error_response(request, error.status_code, str(error.detail), allow)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> JSONResponse:
        return _error_response(request, 500, "Internal server error; see the server log.")


def _api_error_response(request: Request, error: ApiError) -> JSONResponse:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    if error.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UnservedLanguageError) and request.scope["path"].startswith("/api/"):
        content = {"error": error.message, "detected": native.detected_json(error.detected)}
        return JSONResponse(content, error.status, headers)
    return _error_response(request, error.status, error.message, headers)


def _error_response(request: Request, status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Format an error for the API that the request belongs to."""
    name = "message" if request.scope["path"].startswith(("/v1/", "/v2/", "/v3/")) else "error"
    headers = dict(headers or {})
    if status == 415:
        headers["Accept-Encoding"] = "identity"
    if status in (408, 413, 415):
        headers["Connection"] = "close"  # the rest of the body is not read
    message = message.encode("utf-8", "replace").decode()  # the message may quote an unpaired surrogate
    return JSONResponse({name: message}, status, headers)
