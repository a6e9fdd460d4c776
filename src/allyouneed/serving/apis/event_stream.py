"""Server-sent events of a streamed translation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.state import ApplicationState, TextResult


async def translation_events(
    state: ApplicationState,
    request: Request,
    text_and_languages: tuple[str, str, str],
    options: TranslationOptions,
    result_json: Callable[[TextResult], dict[str, Any]],
) -> AsyncIterator[str]:
    """Translate a text and yield server-sent events.

    Args:
        state: The server's state.
        request: The request, whose charge is released if the translation fails.
        text_and_languages: Source text, source language or "auto", and target language.
        options: Search options.
        result_json: Formats the final translation.

    Yields:
        `word` events with the text so far, then `done` with the translation, or `error`.

    Raises:
        ApiError: If translation fails before the first event.
    """
    text, source, target = text_and_languages
    route, detected = state.route(source, target, text)
    if not route:
        yield _event("done", result_json(TextResult(text, [], [], detected)))
        return
    loop = asyncio.get_running_loop()
    partial_texts: asyncio.Queue[str | None] = asyncio.Queue()

    def on_text(so_far: str) -> None:
        loop.call_soon_threadsafe(partial_texts.put_nowait, so_far)

    started = False
    work = asyncio.create_task(state.within_limit(state.pipeline.stream(text, route, options, on_text)))
    work.add_done_callback(lambda _: partial_texts.put_nowait(None))
    try:
        while (so_far := await partial_texts.get()) is not None:
            yield _event("word", {"text": so_far})
            started = True
        yield _event("done", result_json(TextResult.of(work.result(), detected)))
    except (ApiError, UserError) as error:
        if not started:
            raise
        if request.state.charge:
            request.state.charge.settle(False)
        yield _event("error", {"error": str(error)})
    finally:
        work.cancel()  # which also stops the search


async def prepend(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield `first`, then the rest."""
    yield first
    async for event in rest:
        yield event


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
