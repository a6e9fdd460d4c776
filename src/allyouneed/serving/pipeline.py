"""Translation pipeline: splits texts into sentences, queues them along a route, and assembles the translations."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from allyouneed.documents.sentences import SentenceSegment, join_sentences, single_sentence, split_sentences
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.markup import MarkupFormat, parse_markup
from allyouneed.serving.model_worker import (
    BatchKey,
    ContrastedSentence,
    PatchedSentences,
    SentenceTranslation,
    StreamingSentence,
    SwitchedSentence,
    TranslationOptions,
    explore,
    explore_contrast,
    explore_patching,
    explore_switched,
    translate,
    translate_streaming,
)
from allyouneed.serving.registry import Route, TranslatorRegistry
from allyouneed.serving.request_queue import RequestQueue
from allyouneed.translation.translator import Translator

_WORD = re.compile(r"[^ ]+")
_MAX_QUEUED = 256  # queued sentences per request, so that a long text does not block other requests
CharSpan = tuple[int, int]
_EXPLORER_TASKS: dict[type, Callable[[Translator, Sequence[Any], TranslationOptions], list[Any]]] = {
    str: explore,
    SwitchedSentence: explore_switched,
    ContrastedSentence: explore_contrast,
    PatchedSentences: explore_patching,
}


class AlignedSentence(NamedTuple):
    """A translated sentence and its position in both texts.

    Attributes:
        source: (start, end) in characters of the whole source text.
        target: (start, end) in characters of the whole translation.
        translation: Text, score and hypotheses of the sentence.
        words: Position and log probability of each target word.
        links: Positions of aligned (source, target) words.
    """

    source: CharSpan
    target: CharSpan
    translation: SentenceTranslation
    words: list[tuple[CharSpan, float]]
    links: list[tuple[CharSpan, CharSpan]]


class TextTranslation(NamedTuple):
    """The translation of a text; each alternative joins the equally ranked hypotheses of all sentences."""

    text: str
    alternatives: list[str]
    sentences: list[AlignedSentence]


class _SplitText(NamedTuple):
    """The sentences of a text from index `start` on; `code` is the preceding target-language code, such as `>>fr<<`."""

    code: str
    start: int
    segments: list[SentenceSegment]

    def sources(self) -> list[str]:
        """Sentences for the model, each with the code in front; empty sentences stay empty."""
        prefix = f"{self.code} " if self.code else ""
        return [segment.sentence and prefix + segment.sentence for segment in self.segments]


@dataclass(frozen=True)
class TranslationPipeline:
    """Translates texts through the request queue.

    Attributes:
        registry: The served translators.
        queue: Queue of the model threads.
    """

    registry: TranslatorRegistry
    queue: RequestQueue

    async def translate(
        self, texts: Sequence[str], route: Route, options: TranslationOptions, split: bool = True
    ) -> list[TextTranslation]:
        """Translate plain texts, keeping line breaks and spacing.

        Args:
            texts: Source texts.
            route: Language pairs to translate through.
            options: Search options of the last model; earlier models pass on their best translation.
            split: Whether to split texts into sentences.

        Returns:
            One translation per text, in order.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        parts = [self._split(text, route, split) for text in texts]
        sources = [source for part in parts for source in part.sources()]
        results = iter(await self._translate_sentences(sources, route, options))
        hypotheses = options.search.num_hypotheses
        return [_assemble(part, [next(results) for _ in part.segments], hypotheses) for part in parts]

    async def translate_markup(
        self, text: str, route: Route, options: TranslationOptions, markup_format: MarkupFormat
    ) -> str:
        """Translate text with tags; inline tags are placed by word alignment.

        Raises:
            ApiError: 503 if the queue rejects the sentences.
        """
        code, start = self.split_code(text, route)
        document = await asyncio.to_thread(parse_markup, text[start:], markup_format)
        parts = [_SplitText(code, 0, split_sentences(block.text, route[0][0])) for block in document.blocks]
        options = options.for_one_best()._replace(words=any(block.has_tags for block in document.blocks))
        sources = [source for part in parts for source in part.sources()]
        results = iter(await self._translate_sentences(sources, route, options))
        translated = [_assemble(part, [next(results) for _ in part.segments], 1) for part in parts]
        return await asyncio.to_thread(document.rebuild, [(block.text, _word_links(block)) for block in translated])

    async def stream(
        self, text: str, route: Route, options: TranslationOptions, on_text: Callable[[str], None]
    ) -> TextTranslation:
        """Translate a text greedily.

        Args:
            text: Source text.
            route: Language pairs to translate through; only the last model streams.
            options: Search options.
            on_text: Called by a model thread with the whole translation so far, after each word.

        Raises:
            ApiError: 503 if the queue rejects a sentence.
        """
        parts = self._split(text, route, True)
        results: list[SentenceTranslation] = []
        for segment, source in zip(parts.segments, parts.sources(), strict=True):
            finished = parts.segments[: len(results)]
            before = join_sentences(finished, [result.text for result in results]) + segment.space

            def on_sentence(so_far: str, before: str = before) -> None:
                on_text(before + so_far)

            results.append(await self._stream_sentence(source, route, options, on_sentence))
            on_text(before + results[-1].text)
        return _assemble(parts, results, 1)

    async def explore(
        self, route: Route, payload: str | SwitchedSentence | ContrastedSentence | PatchedSentences
    ) -> dict[str, Any]:
        """Return the explorer's data for a sentence, or for another payload the part that it asks for.

        Raises:
            ApiError: 400 if the route does not have exactly one model.
        """
        if not route:
            raise ApiError(400, "nothing to explore: source and target are the same language")
        if len(route) > 1:
            raise ApiError(400, "this pair is translated through a third language; explore each step separately")
        [data] = await self.queue.submit(BatchKey(_EXPLORER_TASKS[type(payload)], route[0]), [payload])
        return data

    def split_code(self, text: str, route: Route) -> tuple[str, int]:
        """Find a target-language code such as `>>fr<<` at the beginning of a text.

        Returns:
            The code, or "", and the index after it and one following space or line break.
        """
        code, rest = self.registry.translators[route[0]].tokenizer.split_code(text.lstrip())
        return code, len(text) - len(rest) + rest[:1].isspace() if code else 0

    def _split(self, text: str, route: Route, split: bool) -> _SplitText:
        code, start = self.split_code(text, route)
        rest = text[start:]
        return _SplitText(code, start, split_sentences(rest, route[0][0]) if split else single_sentence(rest))

    async def _translate_sentences(
        self, sources: Sequence[str], route: Route, options: TranslationOptions
    ) -> list[SentenceTranslation]:
        """Translate each distinct sentence once; empty sentences have empty translations."""
        results = {"": SentenceTranslation("", 0.0, [])}
        distinct = [source for source in dict.fromkeys(sources) if source]
        for start in range(0, len(distinct), _MAX_QUEUED):
            chunk = distinct[start : start + _MAX_QUEUED]
            results.update(zip(chunk, await self._follow_route(chunk, route, options), strict=True))
        return [results[source] for source in sources]

    async def _follow_route(
        self, sources: list[str], route: Route, options: TranslationOptions
    ) -> list[SentenceTranslation]:
        """Translate along the route; only the last model uses the options that concern the target text."""
        results: list[SentenceTranslation] = []
        for step, pair in enumerate(route):
            is_last = step == len(route) - 1
            previous = results
            key = BatchKey(translate, pair, options if is_last else options.for_one_best())
            results = await self.queue.submit(key, sources)
            if step:
                results = [_over(first, second) for first, second in zip(previous, results, strict=True)]
            sources = [result.text for result in results]
        return results

    async def _stream_sentence(
        self, source: str, route: Route, options: TranslationOptions, on_text: Callable[[str], None]
    ) -> SentenceTranslation:
        if not source:
            return SentenceTranslation("", 0.0, [])
        key = BatchKey(translate_streaming, route[-1], options)
        if len(route) == 1:
            [result] = await self.queue.submit(key, [StreamingSentence(source, on_text)])
            return result
        [pivot] = await self._follow_route([source], route[:-1], options.for_one_best())
        [result] = await self.queue.submit(key, [StreamingSentence(pivot.text, on_text)])
        return _over(pivot, result)


def word_spans(text: str) -> list[CharSpan]:
    """Return the positions of space-separated words, the units of alignment and word scores."""
    return [match.span() for match in _WORD.finditer(text)]


def _over(first: SentenceTranslation, second: SentenceTranslation) -> SentenceTranslation:
    """Return the second translation, aligned with the source of the first."""
    links = {(source, target) for source, pivot in first.alignment for i, target in second.alignment if i == pivot}
    return second._replace(alignment=sorted(links))


def _assemble(part: _SplitText, results: Sequence[SentenceTranslation], hypotheses: int) -> TextTranslation:
    sentences, segments = [], part.segments
    source, target = part.start, 0
    if part.code:  # the models see the code as the first source word
        results = [r._replace(alignment=[(i - 1, j) for i, j in r.alignment if i]) for r in results]
    for segment, result in zip(segments, results, strict=True):
        source, target = source + len(segment.space), target + len(segment.space)
        if segment.sentence:
            sentences.append(_aligned_sentence(segment.sentence, result, source, target))
        source, target = source + len(segment.sentence), target + len(result.text)
    text = join_sentences(segments, [result.text for result in results])
    alternatives = (join_sentences(segments, [_nth_text(r, n) for r in results]) for n in range(1, hypotheses))
    return TextTranslation(text, [other for other in dict.fromkeys(alternatives) if other != text], sentences)


def _aligned_sentence(sentence: str, result: SentenceTranslation, source: int, target: int) -> AlignedSentence:
    """Move positions from the sentence, which starts at `source` and `target`, to the whole texts."""
    source_words = [(start + source, end + source) for start, end in word_spans(sentence)]
    target_words = [(start + target, end + target) for start, end in word_spans(result.text)]
    links = [
        (source_words[i], target_words[j])
        for i, j in result.alignment
        if i < len(source_words) and j < len(target_words)
    ]
    return AlignedSentence(
        (source, source + len(sentence)),
        (target, target + len(result.text)),
        result,
        list(zip(target_words, result.word_scores, strict=False)),
        links,
    )


def _nth_text(result: SentenceTranslation, n: int) -> str:
    """Return hypothesis `n`, counted from 0, or the best one if there are fewer."""
    return result.hypotheses[n][0] if n < len(result.hypotheses) else result.text


def _word_links(translated: TextTranslation) -> list[tuple[CharSpan, CharSpan]]:
    """Return the positions of each target word and of its source word (if unaligned, of its source sentence)."""
    linked = {target: source for sentence in translated.sentences for source, target in sentence.links}
    return [
        (span, linked.get(span, sentence.source))
        for sentence in translated.sentences
        for start, end in word_spans(sentence.translation.text)
        for span in [(start + sentence.target[0], end + sentence.target[0])]
    ]
