"""What the routes of all APIs share: who may come in, which language it is, and the translation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from babel import Locale, UnknownLocaleError
from starlette.requests import Request

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.api_keys import Gate, Key
from allyouneed.serving.detect import Detector, Guess
from allyouneed.serving.document_jobs import Documents
from allyouneed.serving.markup import Form
from allyouneed.serving.model_worker import Options
from allyouneed.serving.pairs import Pair
from allyouneed.serving.pipeline import Desk, Sentence
from allyouneed.serving.server_settings import Settings
from allyouneed.serving.telemetry import Metrics

AUTO = "auto"
Answered = TypeVar("Answered")
_BEST = Options()


class Result(NamedTuple):
    """One text's translation; guess: its language, where that was left to us."""

    text: str
    alternatives: list[str]
    sentences: list[Sentence]
    guess: Guess | None


@dataclass(frozen=True)
class Server:
    desk: Desk
    gate: Gate
    documents: Documents
    metrics: Metrics
    detector: Detector
    settings: Settings

    def enter(self, request: Request, secret: str | None, texts: Sequence[str] = ()) -> Key | None:
        """Lets a request in, and notes for the log what is known of it. Errors: `ApiError` 403, 429, 456."""
        characters = sum(map(len, texts))
        key = self.gate.enter(secret, request.client.host if request.client else "", characters)
        request.state.facts |= {"characters": characters, "key": key.name if key else None}
        if self.settings.log_text:
            request.state.facts["text"] = list(texts)
        return key

    def way(self, source: str, target: str, text: str) -> tuple[list[Pair], Guess | None]:
        """The pairs to go through; none where the text is in the target language already."""
        guess = self.detector.best(text) if source.strip().lower() == AUTO else None
        source = guess.language if guess else self.desk.pairs.known(source)
        target = self.desk.pairs.known(target)
        return ([] if source == target else self.desk.pairs.route(source, target)), guess

    async def translate(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        options: Options = _BEST,
        form: Form | None = None,
        split: bool = True,
    ) -> list[Result]:
        """In order; each text's language is found by itself where source is `auto`. form: of the tags, for marked text.

        Errors: `ApiError`, 503 when it takes too long.
        """
        ways = [self.way(source, target, text) for text in texts]
        results = [Result(text, [], [], guess) for text, (_, guess) in zip(texts, ways, strict=True)]
        groups: dict[tuple[Pair, ...], list[int]] = {}
        for place, (way, _) in enumerate(ways):
            if way:
                groups.setdefault(tuple(way), []).append(place)
        for route, places in groups.items():
            asked = [texts[place] for place in places]
            if form:
                work = [self.desk.marked(text, list(route), options, form) for text in asked]
                found = [Result(text, [], [], None) for text in await self.in_time(asyncio.gather(*work))]
            else:
                done = await self.in_time(self.desk.texts(asked, list(route), options, split))
                found = [Result(*translated, None) for translated in done]
            for place, result in zip(places, found, strict=True):
                results[place] = result._replace(guess=ways[place][1])
        return results

    async def in_time(self, work: Awaitable[Answered]) -> Answered:
        """Errors: `ApiError` 503 when the time of a request is over; its sentences are not worked on then."""
        try:
            async with asyncio.timeout(self.settings.seconds):
                return await work
        except TimeoutError:
            message = f"not translated within {self.settings.seconds:g} seconds; try again, or send less at once"
            raise ApiError(503, message, self.desk.service.retry_after()) from None


def language_name(code: str, own: bool = False) -> str:
    """In English, or in the language itself; the code where it has no name."""
    try:
        locale = Locale.parse(code, sep="-")
        return (locale.get_display_name(None if own else "en") or code).capitalize()
    except (UnknownLocaleError, ValueError):
        return code
