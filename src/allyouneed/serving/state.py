"""Application state that the routes of all APIs share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from starlette.requests import Request

from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.documents.segment_translation import Finders
from allyouneed.languages import language_name
from allyouneed.serving.access.addresses import bracketed, network_of
from allyouneed.serving.access.api_keys import AccessControl, ApiKey, owner_of
from allyouneed.serving.api_errors import ApiError, UnservedLanguageError
from allyouneed.serving.detection.detector import DetectedLanguage, LanguageDetector
from allyouneed.serving.document_jobs import DocumentJobs
from allyouneed.serving.glossaries import GlossaryStore
from allyouneed.serving.pipeline.text_pipeline import AlignedSentence, Finish, TextTranslation, TranslationPipeline
from allyouneed.serving.queue.fair_queue import current_client
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.registry import LanguagePair, Route
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.telemetry import ServerMetrics

AUTO = "auto"
_DEFAULT_OPTIONS = TranslationOptions()
_EXAMINED_MARKUP = 20_000  # characters of markup whose text is examined for its language
Awaited = TypeVar("Awaited")


class TextResult(NamedTuple):
    """The translation of one text.

    Attributes:
        text: Translated text.
        alternatives: Other translations of the whole text.
        sentences: Translated sentences with their positions; empty for markup.
        detected: Detected source language, if the request did not specify it.
        problems: What could not be guaranteed, and sentences that are unchanged.
    """

    text: str
    alternatives: list[str]
    sentences: list[AlignedSentence]
    detected: DetectedLanguage | None
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: TextTranslation, detected: DetectedLanguage | None) -> TextResult:
        """Return the result of a translated text."""
        problems = (*_uncertain(detected), *found.problems)
        return cls(found.text, found.alternatives, found.sentences, detected, problems)


@dataclass(frozen=True)
class ApplicationState:
    """State that the routes of all APIs share; there is one object per server."""

    pipeline: TranslationPipeline
    access: AccessControl
    documents: DocumentJobs
    glossaries: GlossaryStore
    metrics: ServerMetrics
    detector: LanguageDetector
    settings: ServerSettings

    def admit(self, request: Request, secret: str | None, texts: Sequence[str] = ()) -> ApiKey | None:
        """Admit a request, add details to its log line, and note whose it is for fair sharing of the models.

        Args:
            request: The request.
            secret: API key sent with the request.
            texts: Source texts, whose characters count towards the quota if the request succeeds.

        Returns:
            The key, or None if the server has no keys.

        Raises:
            ApiError: 403, 429 or 456; see `AccessControl.admit`.
        """
        characters = sum(map(len, texts))
        address = request.client.host if request.client else ""
        key = self.access.admit(secret, address)
        current_client.set(f"key {key.name}" if key else network_of(address))
        request.state.charge = self.access.charge(key, characters)  # settled at the end of the request
        request.state.log_fields |= {"characters": characters, "key": key.name if key else None}
        if self.settings.log_text:
            request.state.log_fields["text"] = list(texts)
        return key

    def authenticate(self, request: Request) -> str:
        """Check the key of a request that polls for a result, without counting the request.

        Returns:
            The owner of documents and glossaries that the request may use.

        Raises:
            ApiError: 403 if a key is required and missing or wrong.
        """
        return owner_of(self.access.authenticate(bearer_token(request)))

    def url(self, request: Request, path: str) -> str:
        """Return the URL of a path, for a link in a response; never with the name in the request's Host header."""
        if self.settings.public_url:
            return self.settings.public_url + path
        host, port = request.scope["server"]  # the address at which the connection arrived
        return f"http://{bracketed(host)}:{port}{path}"

    def route(
        self, source: str, target: str, text: str, is_file: bool = False
    ) -> tuple[Route, DetectedLanguage | None]:
        """Find the route for a text, detecting its language if `source` is "auto".

        Args:
            source: Source language, or "auto".
            target: Target language.
            text: The text, or a sample of it.
            is_file: Whether it is the text of a file. The most likely language is then that of the file, also if it
                is the target language: DeepL's clients expect an error, where a short text is translated.

        Returns:
            The route, empty if the text is in the target language already, and the detected language, if any.

        Raises:
            ApiError: 400 if a language or the pair is not served; `UnservedLanguageError` if the detected language is
                not.
        """
        registry = self.pipeline.registry
        target = registry.resolve(target)
        detected = None
        if is_auto(source):
            origins = registry.origins(target)
            if not origins:
                raise ApiError(400, f"no model translates to {target}; GET /languages lists the language pairs")
            detected = self.detector.detect(text, dict.fromkeys([*origins, target]), None if is_file else target)
            if detected.language not in (*origins, target):
                raise UnservedLanguageError(_unserved(detected, origins, target), detected)
            source = detected.language
        source = registry.resolve(source)
        if source == target and (source, target) not in registry.translators:
            return [], detected
        return registry.route(source, target), detected

    def _routes(
        self, texts: Sequence[str], source: str, target: str
    ) -> list[tuple[Route, DetectedLanguage | None, tuple[str, ...]]]:
        """Find the route and the detected language of each text, and a problem if it is in a language not served.

        Raises:
            ApiError: See `route`; `UnservedLanguageError` only if no text can be translated.
        """
        found, errors = list[tuple[Route, DetectedLanguage | None, tuple[str, ...]]](), list[UnservedLanguageError]()
        for text in texts:
            try:
                route, detected = self.route(source, target, text)
                found.append((route, detected, () if route else _uncertain(detected)))
            except UnservedLanguageError as error:
                errors.append(error)
                found.append(([], error.detected, (f"Not translated: {error.message}.",)))
        if errors and len(errors) == len(texts):
            raise errors[0]
        return found

    async def translate(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        options: TranslationOptions = _DEFAULT_OPTIONS,
        markup_format: MarkupRules | None = None,
        split: bool = True,
        finders: Finders | None = None,
        finish: Finish | None = None,
    ) -> list[TextResult]:
        """Translate texts, each with its own route.

        Args:
            texts: Source texts.
            source: Source language, or "auto" to detect the language of each text.
            target: Target language.
            options: Search options.
            markup_format: How to parse tags, or None for plain text.
            split: Whether to split texts into sentences.
            finders: Find what must be kept, and terms; None for the default.
            finish: In markup, gets each sentence and its translation, and returns the translation to use.

        Returns:
            One result per text, in order.

        Raises:
            ApiError: 400 if the pair is not served, or no text is in a language that is; 503 if the time limit is
                exceeded.
        """
        preparation, size = self.pipeline.preparation, sum(map(len, texts))
        shows = partial(_visible_text, rules=markup_format) if markup_format and is_auto(source) else str
        routes = await preparation.run(lambda: self._routes(list(map(shows, texts)), source, target), size)
        results = [
            TextResult(text, [], [], detected, problems)
            for text, (_, detected, problems) in zip(texts, routes, strict=True)
        ]
        indices_by_route: dict[tuple[LanguagePair, ...], list[int]] = {}
        for index, (route, _, _) in enumerate(routes):
            if route:
                indices_by_route.setdefault(tuple(route), []).append(index)
        for pairs, indices in indices_by_route.items():
            route, sources = list(pairs), [texts[index] for index in indices]
            if markup_format:
                jobs = [
                    self.pipeline.translate_markup(text, route, options, markup_format, split, finders, finish)
                    for text in sources
                ]
                translations = list(await self.within_limit(asyncio.gather(*jobs)))
            else:
                translations = await self.within_limit(self.pipeline.translate(sources, route, options, split, finders))
            for index, found in zip(indices, translations, strict=True):
                results[index] = TextResult.of(found, routes[index][1])
        return results

    async def within_limit(self, work: Awaitable[Awaited]) -> Awaited:
        """Await work for at most the time limit of a request; on a timeout, its queued sentences are dropped.

        Raises:
            ApiError: 503 if the time limit is exceeded.
        """
        try:
            async with asyncio.timeout(self.settings.seconds):
                return await work
        except TimeoutError:
            message = f"not translated within {self.settings.seconds:g} seconds; try again, or send less at once"
            raise ApiError(503, message, self.pipeline.queue.retry_after()) from None


def is_auto(source: str) -> bool:
    """Return whether the language of a text is to be detected."""
    return source.strip().lower() == AUTO


def _visible_text(markup: str, rules: MarkupRules) -> str:
    """Return the text of the beginning of markup."""
    return "\n".join(segment.text for segment in MarkupText(markup[:_EXAMINED_MARKUP], rules).segments)


def _unserved(detected: DetectedLanguage, sources: Sequence[str], target: str) -> str:
    """Describe why a text is not translated, and what to do."""
    return (
        f"the text seems to be in {_name(detected.language)}, with confidence {detected.confidence:g}; "
        f"this server translates to {target} only from {', '.join(sources)}. If the text is in one of these languages, "
        "give the source language instead of auto"
    )


def _name(code: str) -> str:
    """Return the name of a language with its code; the code "it" before it would read as a pronoun."""
    name = language_name(code)
    return code if name.casefold() == code.casefold() else f"{name} ({code})"


def _uncertain(detected: DetectedLanguage | None) -> tuple[str, ...]:
    """Return a problem if the language was detected without certainty; a text without letters has confidence 0."""
    if detected is None or detected.is_certain or not detected.confidence:
        return ()
    return (f"The source language is uncertain: {_name(detected.language)} with confidence {detected.confidence:g}.",)


def application_state(request: Request) -> ApplicationState:
    """Return the state of the server that received a request; `build_app` stores it."""
    state: ApplicationState = request.app.state.application
    return state


def bearer_token(request: Request) -> str | None:
    """Return the key of an `Authorization: Bearer KEY` or `DeepL-Auth-Key KEY` header."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() in ("bearer", "deepl-auth-key") else None
